"""Filters and sort orders of tokens and instances.

A store filters in SQL, a server in its own way; ``matches`` and the sort functions here define the correct result. A
token or instance without the time that a filter needs does not match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.model.durations import compute_token_duration
from tokctl.model.element_types import ELEMENT_TYPES, TYPE_FAMILIES, canonical_type, type_matches
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import COMPLETED, STATES, WAITING, canonical_state, is_final
from tokctl.model.tokens import Token
from tokctl.model.variables import VariableCondition
from tokctl.model.visits import Visit
from tokctl.text import suggest


def matches_glob(text: str | None, glob: str) -> bool:
    """Tell whether a text matches a pattern with ``*``, ``?`` and ``[a-z]``, or is the pattern itself."""
    return text is not None and (text == glob or fnmatchcase(text, glob))


class TokenFilter(Struct, frozen=True, kw_only=True):
    """Conditions on tokens; a token matches if all of them hold.

    ``states``, ``types`` (types or families), ``elements`` (globs for id or name) and ``workers`` (globs) hold
    alternatives; empty stands for all. A token is in a period if it was alive there: its last change is not before
    ``since``, and it was created before ``until``.
    """

    states: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    live: bool = False
    include_completed: bool = True

    def matches(self, token: Token | Visit) -> bool:
        """Tell whether a token matches."""
        changed = token.updated_at or token.created_at
        worker = token.context.worker_id
        kind = token.element_type
        return (
            (not self.states or token.state in self.states)
            and (not self.live or token.live)
            and (self.include_completed or token.state != COMPLETED)
            and (not self.types or (kind is not None and any(type_matches(kind, t) for t in self.types)))
            and (
                not self.elements
                or any(matches_glob(token.element_id, e) or matches_glob(token.name, e) for e in self.elements)
            )
            and (not self.workers or any(matches_glob(worker, w) for w in self.workers))
            and (self.since is None or (changed is not None and changed >= self.since))
            and (self.until is None or (token.created_at is not None and token.created_at < self.until))
        )


ALL_TOKENS = TokenFilter()


def asks_for_live(where: TokenFilter) -> bool:
    """Tell whether only live tokens can match."""
    return where.live or (bool(where.states) and all(not is_final(state) for state in where.states))


def validate_states(states: Iterable[str], *, include_completed: bool = True) -> tuple[str, ...]:
    """Return the documented names of states to filter by.

    Raises:
        UsageError: a state is unknown, or COMPLETED is both included and excluded.
    """
    checked = tuple(canonical_state(state.strip()) for state in states)
    for state in checked:
        if state not in STATES:
            raise UsageError(
                f"unknown state '{state}'{suggest(state.upper(), STATES)}.", f"Valid states: {', '.join(STATES)}."
            )
    if not include_completed and COMPLETED in checked:
        raise UsageError("--no-completed and --state COMPLETED cannot be used together.", "Remove one of them.")
    return checked


def validate_types(types: Iterable[str]) -> tuple[str, ...]:
    """Return the camelCase names of element types and families to filter by.

    Any name is allowed, because engines have types of their own, except for a likely misspelling of a known type.

    Raises:
        UsageError: a name is close to a known one, but differs.
    """
    known = (*TYPE_FAMILIES, *ELEMENT_TYPES)
    checked = []
    for given in types:
        name = canonical_type(given.strip())
        name = name.lower() if name.lower() in TYPE_FAMILIES else name
        if name not in known and (hint := suggest(name, known)):
            raise UsageError(
                f"unknown element type '{given}'{hint}.",
                "Use a family (gateway, task, event) or a BPMN type such as serviceTask.",
            )
        checked.append(name)
    return tuple(checked)


_TOKEN_COLUMNS: dict[str, Callable[[Token], Any]] = {
    "created": attrgetter("created_at"),
    "updated": attrgetter("updated_at"),
    "finished": attrgetter("finished_at"),
    "duration": lambda token: (took := compute_token_duration(token)) and took.ms,
    "element": attrgetter("element_id"),
    "type": attrgetter("element_type"),
    "state": attrgetter("state"),
    "worker": attrgetter("context.worker_id"),
    "retries": attrgetter("context.retries_used"),
}
TOKEN_SORT_COLUMNS = tuple(_TOKEN_COLUMNS)

_INSTANCE_COLUMNS: dict[str, Callable[[InstanceStatus], Any]] = {
    "started": attrgetter("started_at"),
    "updated": attrgetter("updated_at"),
    "status": attrgetter("status"),
    "process": attrgetter("instance.process_id"),
    "tokens": attrgetter("total_tokens"),
    "live": attrgetter("live_tokens"),
}
INSTANCE_SORT_COLUMNS = tuple(_INSTANCE_COLUMNS)
ORDERS_BY_TOKENS = frozenset({"tokens", "live", "updated"})
"""Those by what only the tokens of an instance tell, unless its source does."""

RECORDED_ORDER = "recorded"
"""The order in which instances were first stored. Only a store, and a server on top of one, knows it.

Tokens of several instances in this order come instance by instance, those of an instance by creation.
"""


class SortOrder(Struct, frozen=True):
    """A column to sort by. Unknown values come first, or last if ``descending``."""

    column: str
    descending: bool = False


def parse_sort_order(text: str, valid: tuple[str, ...]) -> SortOrder:
    """Parse the name of a column, with ``-`` in front for descending order, such as ``-created``.

    Raises:
        UsageError: the column is not in ``valid``.
    """
    column = text.strip().lstrip("-+").lower()
    if column not in valid:
        raise UsageError(
            f"cannot sort by '{text}'{suggest(column, valid)}.",
            f"Valid: {', '.join(valid)}. A leading '-' reverses the order.",
        )
    return SortOrder(column, descending=text.strip().startswith("-"))


def token_sort_key(token: Token, column: str) -> tuple[bool, Any]:
    """Return the sort key of a token for a column: unknown values before known ones."""
    return _unknown_first(_TOKEN_COLUMNS[column](token))


def _unknown_first(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def sort_tokens(tokens: Iterable[Token], order: SortOrder) -> list[Token]:
    """Sort tokens; equal ones by creation, then in the given order."""
    ranked = sorted(tokens, key=lambda t: token_sort_key(t, "created"))
    return sorted(ranked, key=lambda t: token_sort_key(t, order.column), reverse=order.descending)


class StuckLimits(Struct, frozen=True):
    """When a token counts as stuck: its timeout has passed, or it is older than a threshold of ``tokctl debug``.

    Those are the rules TIMED_OUT_TOKENS, LONG_RUNNING_TOKENS (ACTIVE, or WAITING for a job) and STUCK_GATEWAY_TOKENS
    (WAITING at a gateway, but not for known events). A FAILED token is not stuck but an incident.
    """

    now: datetime
    long_running: timedelta = timedelta(minutes=10)
    stuck_gateway: timedelta = timedelta(minutes=5)

    def matches(self, token: Token | Visit) -> bool:
        """Tell whether a token is stuck."""
        if not token.can_move:
            return False
        due, created = token.context.timeout_at, token.created_at
        if due is not None and due < self.now:
            return True
        if created is None:
            return False
        if token.context.is_running(token.state) and self.now - created > self.long_running:
            return True
        at_gateway = token.state == WAITING and type_matches(token.element_type or "", "gateway")
        at_gateway = at_gateway and not token.context.waits_for_event
        return at_gateway and self.now - created > self.stuck_gateway


class InstanceFilter(Struct, frozen=True, kw_only=True):
    """Conditions on instances; an instance matches if all of them hold.

    ``statuses``, ``processes`` (globs for the process id) and ``business_keys`` (globs) hold alternatives; of
    ``variables`` all have to match. An instance is in a period if it was updated at or after ``since`` and started
    before ``until``. ``live`` instances have a live token. ``open`` instances have not ended, or have a live token
    nevertheless. ``failed`` instances have a FAILED token, ``stuck`` ones a token that is stuck.
    """

    statuses: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    live: bool = False
    open: bool = False
    failed: bool = False
    stuck: StuckLimits | None = None
    business_keys: tuple[str, ...] = ()
    variables: tuple[VariableCondition, ...] = ()

    def matches_with_tokens(self, status: InstanceStatus, tokens: Iterable[Token | Visit]) -> bool:
        """Tell whether an instance with these tokens matches; the live ones are enough."""
        return self.matches(status) and (self.stuck is None or any(map(self.stuck.matches, tokens)))

    def matches(self, status: InstanceStatus) -> bool:
        """Tell whether an instance matches as far as its status tells: ``stuck`` is a condition on its tokens."""
        process, key = status.instance.process_id, status.instance.business_key
        return (
            (not self.statuses or status.status in self.statuses)
            and (not self.live or status.live_tokens > 0)
            and (not self.failed or status.failed_tokens > 0)
            and (not self.open or status.live_tokens > 0 or not (status.status is None or is_final(status.status)))
            and (not self.processes or any(matches_glob(process, p) for p in self.processes))
            and (self.version is None or status.instance.version == self.version)
            and (self.since is None or (status.updated_at is not None and status.updated_at >= self.since))
            and (self.until is None or (status.started_at is not None and status.started_at < self.until))
            and (not self.business_keys or any(matches_glob(key, k) for k in self.business_keys))
            and all(condition.matches(status.instance.variables) for condition in self.variables)
            and (self.stuck is None or status.live_tokens > status.failed_tokens)
        )


def sort_instances(found: Iterable[InstanceStatus], order: SortOrder) -> list[InstanceStatus]:
    """Sort instances; equal ones by id."""
    ranked = sorted(found, key=lambda status: status.instance.instance_id)
    value = _INSTANCE_COLUMNS[order.column]
    return sorted(ranked, key=lambda status: _unknown_first(value(status)), reverse=order.descending)
