"""One process instance with all of its tokens in memory.

Engines that fetch or keep whole instances use this class. A store answers the same queries in SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter, gt
from typing import TYPE_CHECKING, Any

from tokctl.errors import NotFoundError
from tokctl.model.durations import compute_duration
from tokctl.model.filters import ALL_TOKENS, TokenFilter
from tokctl.model.instance_status import InstanceStatus, derive_status
from tokctl.model.instances import Instance
from tokctl.model.states import COMPLETED
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit

if TYPE_CHECKING:
    from tokctl.analysis.performance.visits import VisitBatch


class InstanceTokens:
    """An instance and its tokens: all of them ``Token``, or all of them ``Visit``, in their original order.

    A later record of a token replaces the earlier one unless its ``updated_at`` is older. Visits answer every query
    except those for whole tokens. The status is derived from the tokens when it is first needed, unless the source sent
    it.
    """

    def __init__(self, instance: Instance, tokens: Sequence[Any], *, status: InstanceStatus | None = None) -> None:
        self.instance = instance
        self.tokens = keep_newest(tokens)
        self._told_status = status

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.instance.instance_id

    @cached_property
    def status(self) -> InstanceStatus:
        """The instance with its status, its times and the numbers of its tokens."""
        return self._told_status or derive_status(self.instance, self.tokens)

    @cached_property
    def _by_id(self) -> dict[str, Token]:
        return {token.token_id: token for token in self.tokens}

    def token(self, token_id: str) -> Token:
        """Return a token by its id. Raises NotFoundError."""
        try:
            return self._by_id[token_id]
        except KeyError:
            raise NotFoundError(f"no token '{token_id}' in instance '{self.instance_id}'.") from None

    def token_ids(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield (token id, instance id) of tokens whose id begins with a prefix, in no order."""
        return ((token.token_id, self.instance_id) for token in self.tokens if token.token_id.startswith(prefix))

    def visits(self, where: TokenFilter = ALL_TOKENS, *, flows: bool = False) -> Iterator[Visit]:
        """Yield the visits of the tokens that match, in order of creation."""
        visits = self.tokens
        if visits and isinstance(visits[0], Token):
            visits = [Visit.from_token(token, flows=flows) for token in visits]
        if where != ALL_TOKENS:
            visits = [visit for visit in visits if where.matches(visit)]
        times = [visit.created_at for visit in visits]
        if not all(times) or any(map(gt, times, islice(times, 1, None))):
            visits = sorted(visits, key=lambda visit: (visit.created_at is not None, visit.created_at or 0))
        return iter(visits)

    def durations(self, elements: Collection[str] | None) -> Iterator[tuple[str, str, float]]:
        """Yield (instance id, element id, ms) of the COMPLETED visits of elements (None: of all) with a duration."""
        for token in self.tokens:
            if token.state == COMPLETED and (elements is None or token.element_id in elements):
                duration = compute_duration(token.context.duration_ms, token.created_at, token.finished_at)
                if duration is not None:
                    yield self.instance_id, token.element_id, duration.ms

    def visit_batches(self, where: TokenFilter) -> Iterator[VisitBatch]:
        """Yield how long tokens stayed at which elements, in columns."""
        from tokctl.analysis.performance.visits import BATCH_SIZE

        chunks = (self.tokens[start : start + BATCH_SIZE] for start in range(0, len(self.tokens), BATCH_SIZE))
        return map(partial(_to_visit_batch, where), chunks)


def _to_visit_batch(where: TokenFilter, tokens: Sequence[Any]) -> VisitBatch:
    from tokctl.analysis.performance.visits import VisitBatch

    def column(name: str, of: Sequence[Any] = tokens) -> list[Any]:
        return list(map(attrgetter(name), of))

    contexts, states = column("context"), column("state")
    return VisitBatch(
        token_id=column("token_id"),
        parent=column("parent_token_id"),
        element_id=column("element_id"),
        element_type=column("element_type"),
        element_name=column("element_name"),
        worker_id=column("worker_id", contexts),
        state=states,
        created=column("created_at"),
        finished=[
            done if done and state == COMPLETED else token.finished_at
            for token, state, done in zip(tokens, states, column("completed_at"), strict=True)
        ],
        duration_ms=column("duration_ms", contexts),
        retries_used=column("retries_used", contexts),
        wanted=None if where == ALL_TOKENS else list(map(where.matches, tokens)),
    )


def keep_newest(tokens: Sequence[Any]) -> Sequence[Any]:
    """Keep the newest record of each token."""
    if len({token.token_id for token in tokens}) == len(tokens):
        return tokens
    known: dict[str, Any] = {}
    for token in tokens:
        if not is_older(token, known.get(token.token_id)):
            known[token.token_id] = token
    return list(known.values())


def is_older(new: Token | Visit | Instance, old: Token | Visit | Instance | None) -> bool:
    """Tell whether a record is older than a known one, by its own time."""
    return (
        old is not None
        and old.updated_at is not None
        and new.updated_at is not None
        and new.updated_at < old.updated_at
    )
