"""Process instances and the totals of their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from msgspec import Raw, Struct

from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, STATES
from tokctl.model.tokens import NULL


class Summary(Struct, frozen=True, kw_only=True):
    """Totals of a whole instance, regardless of filters (the documented ``summary``)."""

    total_tokens: int
    active_tokens: int
    completed_tokens: int
    cancelled_tokens: int
    token_states: dict[str, int]
    element_types: dict[str, int]


def summarize(counts: Iterable[tuple[str, str | None, int]]) -> Summary:
    """Add up (state, element type, count) triples.

    Every documented state has a key, even with a count of 0, and so have ``startEvent`` and ``endEvent``, which every
    process has. A type of None is not counted in ``element_types``.
    """
    states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    types: Counter[str] = Counter({"startEvent": 0, "endEvent": 0})
    for state, element_type, count in counts:
        states[state] += count
        if element_type is not None:
            types[element_type] += count
    return Summary(
        total_tokens=states.total(),
        active_tokens=states[ACTIVE],
        completed_tokens=states[COMPLETED],
        cancelled_tokens=states[CANCELLED],
        token_states={s: states[s] for s in STATES} | {s: n for s, n in sorted(states.items()) if s not in STATES},
        element_types=dict(sorted(types.items())),
    )


class Instance(Struct, frozen=True, kw_only=True):
    """A process instance, as ``GET /api/v1/processes/{id}`` describes it.

    ``status`` is that of the source; None if it gave none (see ``instance_status.derive_status``). ``extra`` holds
    undocumented fields.
    """

    instance_id: str
    process_id: str | None = None
    process_key: str | None = None
    version: int | None = None
    status: str | None = None
    business_key: str | None = None
    tenant_id: str | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    variables: Raw = NULL
    extra: dict[str, Raw] = {}
