"""The states of a token and its lifecycle."""

from __future__ import annotations

ACTIVE = "ACTIVE"
WAITING = "WAITING"
SUSPENDED = "SUSPENDED"
COMPLETED = "COMPLETED"
CANCELLED = "CANCELLED"
FAILED = "FAILED"
STATES = (ACTIVE, WAITING, SUSPENDED, COMPLETED, CANCELLED, FAILED)

FINAL_STATES = frozenset({COMPLETED, CANCELLED})

STOPPED_STATES = FINAL_STATES | {FAILED}
"""The states in which a token does not continue by itself."""

STATE_DERIVED = "state_derived"
"""A key in a token's ``extra``: true if its state was derived, because that at a past moment was not recorded, or
because the source has a state that is unknown, and a time at which the token ended."""

SOURCE_STATE = "source_state"
"""A key in a token's ``extra``: the unknown state that the source has for a token that has ended."""

TRANSITIONS: dict[str | None, frozenset[str]] = {
    None: frozenset({ACTIVE}),
    ACTIVE: frozenset({WAITING, SUSPENDED, COMPLETED, CANCELLED, FAILED}),
    WAITING: frozenset({ACTIVE, SUSPENDED, CANCELLED, FAILED}),
    SUSPENDED: frozenset({ACTIVE, WAITING, CANCELLED}),
    COMPLETED: frozenset(),
    CANCELLED: frozenset(),
    FAILED: frozenset({ACTIVE, COMPLETED, CANCELLED}),
}
"""The documented lifecycle: the states that may follow each state (None: not yet created)."""

_STATE_NAMES = {name: name for name in STATES} | {"CANCELED": CANCELLED, "TERMINATED": CANCELLED}


def canonical_state(state: str) -> str:
    """Return the documented name of a state; an unknown state as it is."""
    return _STATE_NAMES.get(state) or _STATE_NAMES.get(state.upper(), state)


def derive_end_state(*, completed: bool, cancelled: bool) -> str | None:
    """Return the state of a token whose own is unknown, by which times of its end it has; None if it has none."""
    return COMPLETED if completed else CANCELLED if cancelled else None


def is_final(state: str) -> bool:
    """Tell whether a token in this state has ended. Unknown states are not final."""
    return state in FINAL_STATES


def can_move(state: str) -> bool:
    """Tell whether a token in this state can continue without an intervention: it has neither ended nor failed."""
    return state not in STOPPED_STATES
