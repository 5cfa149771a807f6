"""The status of an instance, from its source and from its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, COMPLETED, FAILED, FINAL_STATES, is_final
from tokctl.model.times import LAST
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit

MAX_LIVE_ELEMENTS = 5
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class InstanceStatus(Struct, frozen=True, kw_only=True):
    """An instance with its status, totals and times, derived from the tokens where the source gave none.

    ``live_elements`` are the names of the first MAX_LIVE_ELEMENTS elements with live tokens: those with a FAILED token
    first, then in order of creation; none if the source does not tell.
    """

    instance: Instance
    status: str | None
    status_derived: bool
    total_tokens: int
    live_tokens: int
    failed_tokens: int = 0
    first_error: str | None = None
    """The message of the token that was created first, of those that FAILED with one; the lower id of two."""
    live_elements: tuple[str, ...] = ()
    tokens_known: bool = True
    """Whether the tokens were counted. If not, the numbers of tokens are unknown if they are 0."""
    incidents_known: bool = False
    """Whether the FAILED tokens were counted, even if the others were not."""
    started_at: datetime | None
    updated_at: datetime | None
    ended_at: datetime | None

    @property
    def incidents(self) -> int | None:
        """The number of FAILED tokens; None if it is unknown. Some servers send incidents without tokens."""
        known = self.tokens_known or self.incidents_known or self.failed_tokens
        return self.failed_tokens if known else None

    def elapsed(self, now: datetime) -> timedelta | None:
        """Return how long the instance took, or has been running; None if its start or its end is unknown."""
        ended = self.ended_at is not None or (self.status is not None and is_final(self.status))
        end = self.ended_at if ended else now
        if self.started_at is None or end is None or LAST in {self.started_at, end}:
            return None
        return end - self.started_at


def derive_status(instance: Instance, tokens: Iterable[Token | Visit]) -> InstanceStatus:
    """Return the status of an instance.

    The status is that of the source. If the source gave none, an instance with a live token is ACTIVE, or FAILED if
    all its live tokens are; one without has the state of the token that finished last (if several did at once,
    COMPLETED takes precedence); one without tokens has no status. An instance that is live according to its source
    has not ended, even if its tokens have.
    """
    known = tokens if isinstance(tokens, Sequence) else list(tokens)
    unfinished = [token for token in known if token.state not in FINAL_STATES]
    live = len(unfinished)
    failed = [token for token in unfinished if token.state == FAILED]
    created = [token.created_at for token in known if token.created_at is not None]
    changed = [time for token in known if (time := token.updated_at or token.created_at) is not None]
    last: tuple[bool, datetime | int, bool, str] | None = None
    if not live:
        ends = ((token.finished_at, token.state) for token in known)
        last = max(((end is not None, end or 0, state == COMPLETED, state) for end, state in ends), default=None)
    derived = (ACTIVE if live > len(failed) else FAILED) if live else last[3] if last else None
    end = last[1] if last and isinstance(last[1], datetime) else None
    status = instance.status or derived
    return InstanceStatus(
        instance=instance,
        status=status,
        status_derived=instance.status is None and derived is not None,
        total_tokens=len(known),
        live_tokens=live,
        failed_tokens=len(failed),
        first_error=_find_first_error(failed) if failed else None,
        live_elements=_name_elements(unfinished),
        started_at=instance.started_at or min(created, default=None),
        updated_at=instance.updated_at or max(changed, default=None),
        ended_at=instance.completed_at or instance.cancelled_at or (end if is_final(status or "") else None),
    )


def status_without_tokens(instance: Instance) -> InstanceStatus:
    """Return the status of an instance whose tokens were not read."""
    return InstanceStatus(
        instance=instance,
        status=instance.status,
        status_derived=False,
        total_tokens=0,
        live_tokens=0,
        tokens_known=False,
        started_at=instance.started_at,
        updated_at=instance.updated_at,
        ended_at=instance.completed_at or instance.cancelled_at,
    )


def _find_first_error(failed: Sequence[Token | Visit]) -> str | None:
    by_creation = sorted(
        failed, key=lambda token: (token.created_at is not None, token.created_at or _EARLIEST, token.token_id)
    )
    return next((error for token in by_creation if (error := token.context.error)), None)


def _name_elements(live: Iterable[Token | Visit]) -> tuple[str, ...]:
    """Return the names of elements with live tokens; see ``InstanceStatus.live_elements``."""
    first: dict[str, datetime] = {}
    failed: set[str] = set()
    for token in live:
        name, created = token.element_name or token.element_id, token.created_at or _EARLIEST
        if created <= first.get(name, _LATEST):
            first[name] = created
        if token.state == FAILED:
            failed.add(name)
    return tuple(sorted(first, key=lambda name: (name not in failed, first[name], name))[:MAX_LIVE_ELEMENTS])
