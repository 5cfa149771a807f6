"""How an instance stands, from what its source said and what its tokens show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from tokctl.process.model import ACTIVE, COMPLETED, FINAL_STATES, Instance, Token, is_final
from tokctl.process.visit import Visit


class InstanceStatus(Struct, frozen=True, kw_only=True):
    """An instance with its status, derived from the tokens where the source gave none."""

    instance: Instance
    status: str | None
    status_derived: bool
    total_tokens: int
    live_tokens: int
    started_at: datetime | None
    updated_at: datetime | None
    ended_at: datetime | None

    def lasted(self, now: datetime) -> timedelta | None:
        """How long it took, or has been going on; None where nobody knows, as of one that ended at some time."""
        ended = self.ended_at is not None or (self.status is not None and is_final(self.status))
        end = self.ended_at if ended else now
        return None if self.started_at is None or end is None else end - self.started_at


def derive(instance: Instance, tokens: Iterable[Token | Visit]) -> InstanceStatus:
    """Work out how an instance stands.

    The status is what the source said. If it said nothing, an instance with a live token is ACTIVE,
    and one without takes the state of the token that finished last (COMPLETED before others, at the
    same moment). An instance that its source calls live has not ended, whatever its tokens say; one
    without tokens has no status.
    """
    known = tokens if isinstance(tokens, Sequence) else list(tokens)
    live = sum([token.state not in FINAL_STATES for token in known])
    created = [token.created_at for token in known if token.created_at is not None]
    changed = [time for token in known if (time := token.updated_at or token.created_at) is not None]
    last: tuple[bool, datetime | int, bool, str] | None = None
    if not live:
        ends = ((token.finished_at, token.state) for token in known)
        last = max(((end is not None, end or 0, state == COMPLETED, state) for end, state in ends), default=None)
    derived = ACTIVE if live else last[3] if last else None
    end = last[1] if last and isinstance(last[1], datetime) else None
    status = instance.status or derived
    return InstanceStatus(
        instance=instance,
        status=status,
        status_derived=instance.status is None and derived is not None,
        total_tokens=len(known),
        live_tokens=live,
        started_at=instance.started_at or min(created, default=None),
        updated_at=instance.updated_at or max(changed, default=None),
        ended_at=instance.completed_at or instance.cancelled_at or (end if is_final(status or "") else None),
    )
