"""Selects instances and reads them whole, one after the other, redacted: for ``tokctl export``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from glob import escape
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.redaction import Redactor
from tokctl.engines.protocol import MAX_CONSECUTIVE_FAILURES, Engine, UnreadInstance
from tokctl.errors import NotFoundError, StoreError, TokctlError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import InstanceFilter, SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.tokens import is_state_derived
from tokctl.model.visits import Visit
from tokctl.services.comparison_base import ComparedVersion, parse_base
from tokctl.services.inspection import find_definition
from tokctl.services.snapshot.writer import Observation, read_observations


class ReadInstance(Struct, frozen=True):
    """An instance with its visits in order of creation, flow histories included.

    ``derived_states`` has the ids of the tokens whose state was not recorded. ``find_definition`` returns the process
    model; None if it is unknown.
    """

    status: InstanceStatus
    visits: Sequence[Visit]
    derived_states: frozenset[str]
    find_definition: Callable[[], Definition | None]


def select_instances(
    engine: Engine,
    where: InstanceFilter,
    now: datetime,
    *,
    troubled: bool = False,
    thresholds: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the ids of the instances that match, in order of their start.

    With ``troubled``, those that have ended are left out, and those in which the debug rules find no problem;
    ``thresholds`` are those of the configuration. Raises UsageError: a threshold is invalid.
    """
    ids = dict.fromkeys(status.instance.instance_id for status in engine.instances(where, SortOrder("started")))
    if not troubled:
        return [*ids]
    from tokctl.analysis.debug.runner import DebugLimits
    from tokctl.services.debug import DebugQuery, run_debug

    query = DebugQuery(configured=thresholds or {})
    report = run_debug(engine, None, now, query, limits=DebugLimits(matches=1, tokens_per_instance=1), prefix=None)
    found = {one.status.instance.instance_id for one in report.worst}
    return [instance_id for instance_id in ids if instance_id in found]


def select_compared(
    engine: Engine, where: InstanceFilter, given: str, now: datetime
) -> tuple[list[str], tuple[str, list[str]]]:
    """Return the ids of the instances that match without those of the base, and the base: a name, and its ids.

    The base has to match, too, except for its version or period. An instance that belongs to both periods is not part
    of the base.

    Raises:
        NotFoundError: no instance matches, or none of the base.
        UsageError: the base is invalid, or a single instance.
    """
    base = parse_base(engine, given, now)
    if isinstance(base, str):
        raise UsageError(f"cannot compare with the instance {base}.", "Use a version (v3) or a period (8d..1d).")
    if isinstance(base, ComparedVersion):
        processes = where.processes if base.process_id is None else (escape(base.process_id),)
        others = select_instances(engine, replace(where, processes=processes, version=base.version), now)
        left_out = set(others)
        ids = [one for one in select_instances(engine, where, now) if one not in left_out]
    else:
        if where.since is None and where.until is None:
            # The time after the base; before it, if the base extends to the present.
            where = replace(where, since=base.end, until=base.begin if base.end is None else None)
        ids = select_instances(engine, where, now)
        taken = set(ids)
        period = replace(where, since=base.begin, until=base.end)
        others = [one for one in select_instances(engine, period, now) if one not in taken]
    if not ids:
        raise NotFoundError("no process instance matches.", "See 'tokctl instances list'.")
    if not others:
        raise NotFoundError(
            f"no baseline to compare with: no instance of {base.name} matches.", "See 'tokctl instances list'."
        )
    return ids, (base.name, others)


class InstanceReading:
    """Instances that are read one after the other; those that could not be read are in ``unread``.

    Instances of a ``remote`` engine are read concurrently. ``step`` is called after each instance.
    """

    def __init__(
        self,
        engine: Engine,
        ids: list[str],
        redaction: Redactor,
        clock: Callable[[], datetime],
        *,
        remote: bool = False,
        step: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._ids = ids
        self._redaction = redaction
        self._clock = clock
        self._remote = remote
        self._step = step
        self.unread: list[UnreadInstance] = []

    def __iter__(self) -> Iterator[ReadInstance]:
        """Yield each instance that can be read.

        Raises:
            StoreError: the store cannot be read.
            TokctlError: no instance could be read.
        """
        consecutive, has_read = 0, False
        for instance_id, get in read_observations(self._engine, self._ids, self._clock, remote=self._remote):
            try:
                instance = self._read(get())
            except StoreError:
                raise
            except TokctlError as error:
                self.unread.append(UnreadInstance(instance_id, str(error)))
                consecutive += 1
                if not has_read and consecutive in {MAX_CONSECUTIVE_FAILURES, len(self._ids)}:
                    raise
                if consecutive == MAX_CONSECUTIVE_FAILURES:
                    self._skip_rest(instance_id)
                    return
            else:
                consecutive, has_read = 0, True
                yield instance
            self._step(1)

    def _read(self, seen: Observation) -> ReadInstance:
        status, redaction = seen.status, self._redaction
        find = partial(find_definition, self._engine, status.instance)
        if redaction:  # of the other texts of a status, the tokens tell what may be passed on
            status = replace(status, instance=redaction.instance(status.instance), first_error=None, live_elements=())
        visits, derived = [], set()
        for token in seen.tokens:
            shown = redaction.token(token) if redaction else token
            visit = Visit.from_token(shown, flows=True)
            visits.append(visit)
            if is_state_derived(shown, visit.context):
                derived.add(visit.token_id)
        return ReadInstance(status, visits, frozenset(derived), find)

    def _skip_rest(self, last: str) -> None:
        message = f"skipped: {MAX_CONSECUTIVE_FAILURES} consecutive instances could not be read."
        rest = self._ids[self._ids.index(last) + 1 :]
        self.unread += [UnreadInstance(instance_id, message) for instance_id in rest]
