"""The tree of an instance's tokens, in columns.

Columns are arrays indexed by node, the number of a token in the input. Compared with objects they save memory: a
million tokens take about two hundred bytes each, including their ids. The tree is built by ``builder``.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec import Struct

from tokctl.bpmn.entries import EnteredBy
from tokctl.documents.tree import ContradictionExample
from tokctl.model.durations import Duration
from tokctl.model.times import from_micros, to_micros
from tokctl.model.tokens import Certainty, Token
from tokctl.model.visits import Visit

if TYPE_CHECKING:
    from collections.abc import Sequence

ANOMALY_MESSAGES = {
    "PARENT_MISSING": "{token} names {other} as its parent, which is not in the list",
    "PARENT_UNNAMED": "{token} names no parent, but {other} lists it as its child",
    "CHILD_MISSING": "{token} lists {other} as its child, which is not in the list",
    "UNLISTED_CHILD": "{token} names {other} as its parent, which does not list it",
    "CONFLICTING_PARENT": "{token} is also listed as a child by {other}, but is not a join",
    "SELF_PARENT": "{token} names itself as its own parent or child",
    "CYCLE": "{token} is its own ancestor; the link to its parent {other} is ignored",
    "DUPLICATE_ID": "{token} occurs more than once; the first one is kept",
}
"""Every kind of anomaly, with its message."""

ANOMALY_KINDS = tuple(ANOMALY_MESSAGES)
KIND_BITS = {kind: 1 << position for position, kind in enumerate(ANOMALY_KINDS)}

NO_TIME = 2**63 - 1  # sorts after every known time
NO_NODE = -1
LINKED_BY_PARENT, LINKED_BY_CHILD_LIST = 1, 2
_LINKS = (None, "parent_token_id", "child_tokens")


class TreeRow(Struct, frozen=True, gc=False):
    """The fields of a token that the tree needs. Times are microseconds since 1970-01-01 UTC.

    ``child_tokens`` is None if the source does not send it; ``hops`` is the number of flow history entries, 0 if
    unknown; ``certainty`` is that of the last one; ``duration_ms`` is the given duration, never a derived one.
    ``entry_is_unknown`` tells that the engine does not tell where the token came from.
    """

    token_id: str
    element_id: str
    state: str
    parent_token_id: str | None = None
    child_tokens: tuple[str, ...] | None = None
    element_type: str | None = None
    element_name: str | None = None
    created_us: int | None = None
    finished_us: int | None = None
    duration_ms: float | None = None
    worker_id: str | None = None
    hops: int = 0
    certainty: Certainty = Certainty.RECORDED
    entry_is_unknown: bool = False

    @classmethod
    def from_token(cls, token: Token | Visit) -> Self:
        """Return the row of a token."""
        context, hops = token.context, token.hops
        return cls(
            token.token_id,
            token.element_id,
            token.state,
            token.parent_token_id,
            token.child_tokens,
            token.element_type,
            token.element_name,
            to_micros(token.created_at),
            to_micros(token.finished_at),
            context.duration_ms,
            context.worker_id,
            len(hops),
            hops[-1].certainty if hops else Certainty.RECORDED,
            context.entered_by == EnteredBy.UNKNOWN,
        )

    @property
    def name(self) -> str:
        """The name of the element, or its id if it has none."""
        return self.element_name or self.element_id

    @property
    def duration(self) -> Duration | None:
        """How long the token took, given or derived; None if it is live or its times are unknown."""
        if self.duration_ms is not None and math.isfinite(self.duration_ms):
            return Duration(self.duration_ms, derived=False)
        if self.created_us is None or self.finished_us is None:
            return None
        return Duration((self.finished_us - self.created_us) / 1000, derived=True)


class Anomalies:
    """The anomalies of a forest: the exact count of every kind, and the first examples of each kind or of each token.

    ``omitted`` counts those of a token that are no examples because it has more than ``limit_of_token``: a token may
    list millions of missing children.
    """

    def __init__(self, limit: int, limit_of_token: int | None = None) -> None:
        self.counts: dict[str, int] = {}
        self.examples: list[ContradictionExample] = []
        self.omitted: Counter[str] = Counter()
        self._limit = limit
        self._limit_of_token = limit_of_token
        self._kept: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """The number of anomalies, including those not kept as examples."""
        return sum(self.counts.values())

    def add(self, kind: str, token: str, other: str | None) -> None:
        """Count an anomaly, and keep it as an example while there are few of its kind, or of its token."""
        self.counts[kind] = count = self.counts.get(kind, 0) + 1
        if self._limit_of_token is not None:
            self._kept[token] += 1
            if self._kept[token] > self._limit_of_token:
                self.omitted[token] += 1
                return
        if count <= self._limit:
            message = ANOMALY_MESSAGES[kind].format(token=token, other=other)
            self.examples.append(ContradictionExample(kind, token, other, message))


class NodeLists(NamedTuple):
    """Lists of nodes by node, in two arrays: ``items[starts[i] : starts[i + 1]]`` belong to i."""

    starts: array[int]
    items: array[int]

    def of(self, node: int) -> array[int]:
        """Return a copy of a node's list."""
        return self.items[self.starts[node] : self.starts[node + 1]]

    @classmethod
    def from_pairs(cls, keys: Sequence[int], values: Sequence[int], size: int) -> Self:
        """Put each value into the list of its key, in order (a counting sort); keys are below ``size``."""
        starts = zero_array(size + 1)
        for key in keys:
            starts[key + 1] += 1
        starts = array("i", accumulate(starts))
        position, items = starts[:], zero_array(len(values))
        for key, value in zip(keys, values, strict=True):
            items[position[key]] = value
            position[key] += 1
        return cls(starts, items)


def time_at(micros: int) -> datetime | None:
    """Return the time of an entry in a column; None for NO_TIME."""
    return None if micros == NO_TIME else from_micros(micros)


def zero_array(size: int) -> array[int]:
    """Return an array of that many zeros."""
    return array("i", bytes(4 * size))


class Forest:
    """Tokens in a tree. Attributes in the plural are columns, indexed by node.

    ``children`` has one list more than there are tokens: the last one holds the roots.
    """

    def __init__(self, max_examples: int, max_examples_of_token: int | None = None) -> None:
        self.anomalies = Anomalies(max_examples, max_examples_of_token)
        self.unknown_entries = 0  # tokens that came from an unknown element
        self.ids: list[str] = []
        self.labels: list[tuple[str, str | None, str | None, str]] = []  # element id, type, name, state
        self.label_codes = array("i")
        self.parents = array("i")  # in the tree; size for a root
        self.links = bytearray()
        self.flags = array("H")
        self.children = NodeLists(array("i"), array("i"))
        self.joins = NodeLists(array("i"), array("i"))
        self.created, self.finished = array("q"), array("q")
        self.durations = array("d")
        self.hops = array("i")
        self.certainties: dict[int, Certainty] = {}  # of the last hop of a token, unless it is recorded
        self.workers: list[str | None] = []
        self.worker_codes = array("i")
        self.parent_refs = array("i")  # parent_token_id: a node, -1, or -2 - k for the k-th missing id
        self.lists_children = bytearray()
        self.listed = NodeLists(array("i"), array("i"))  # child_tokens, likewise
        self.missing_ids: list[str] = []

    @property
    def size(self) -> int:
        """The number of tokens without duplicates."""
        return len(self.ids)

    @property
    def roots(self) -> array[int]:
        """The nodes without a parent, in order."""
        return self.children.of(self.size)

    def state(self, node: int) -> str:
        """Return a token's state."""
        return self.labels[self.label_codes[node]][3]

    def element_id(self, node: int) -> str:
        """Return the id of a token's element."""
        return self.labels[self.label_codes[node]][0]

    def element_type(self, node: int) -> str | None:
        """Return the type of a token's element."""
        return self.labels[self.label_codes[node]][1]

    def row(self, node: int) -> TreeRow:
        """Return the row of a token."""
        element_id, element_type, element_name, state = self.labels[self.label_codes[node]]
        created, finished, given = self.created[node], self.finished[node], self.durations[node]
        children = None
        if self.lists_children[node]:
            children = tuple(self.resolve_id(reference) for reference in self.listed.of(node))
        return TreeRow(
            self.ids[node],
            element_id,
            state,
            None if self.parent_refs[node] == NO_NODE else self.resolve_id(self.parent_refs[node]),
            children,
            element_type,
            element_name,
            None if created == NO_TIME else created,
            None if finished == NO_TIME else finished,
            None if math.isnan(given) else given,
            self.workers[self.worker_codes[node]],
            self.hops[node],
            self.certainties.get(node, Certainty.RECORDED),
        )

    def duration_ms(self, node: int) -> float | None:
        """Return how long a token took in ms, given or derived; None if unknown."""
        given = self.durations[node]
        if math.isfinite(given):
            return given
        if self.created[node] == NO_TIME or self.finished[node] == NO_TIME:
            return None
        return (self.finished[node] - self.created[node]) / 1000

    def created_us(self, node: int) -> int | None:
        """Return when a token was created, in microseconds; None if unknown."""
        return None if self.created[node] == NO_TIME else self.created[node]

    def finished_us(self, node: int) -> int | None:
        """Return when a token ended, in microseconds; None if unknown."""
        return None if self.finished[node] == NO_TIME else self.finished[node]

    def parent(self, node: int) -> int | None:
        """Return the parent node; None for a root."""
        return None if self.parents[node] == self.size else self.parents[node]

    def parent_id(self, node: int) -> str | None:
        """Return the id of the parent; None for a root."""
        return None if self.parents[node] == self.size else self.ids[self.parents[node]]

    def all_parents(self, node: int) -> list[int]:
        """Return the parent, if there is one, and the further parents."""
        parent = self.parents[node]
        return [*self.joins.of(node), *(() if parent == self.size else (parent,))]

    def linked_by(self, node: int) -> str | None:
        """Return the name of the field that links a token to its parent; None for a root."""
        return _LINKS[self.links[node]]

    def join_ids(self, node: int) -> tuple[str, ...]:
        """Return the ids of the further parents of a token."""
        return tuple(self.ids[other] for other in self.joins.of(node))

    def anomaly_kinds(self, node: int) -> tuple[str, ...]:
        """Return the kinds of the anomalies of a token."""
        mask = self.flags[node]
        return tuple(kind for kind in ANOMALY_KINDS if mask & KIND_BITS[kind]) if mask else ()

    def depths(self) -> array[int]:
        """Return the number of ancestors of each token."""
        depths = zero_array(self.size + 1)
        depths[self.size] = -1  # the parent of the roots
        for node in top_down(self.children, self.size):
            depths[node] = depths[self.parents[node]] + 1
        return depths

    def resolve_id(self, reference: int) -> str:
        """Return the token id of a reference: a node, or -2 - k for the k-th missing id."""
        return self.ids[reference] if reference >= 0 else self.missing_ids[-2 - reference]

    def record_anomaly(self, kind: str, node: int, other: int) -> None:
        """Record an anomaly between a token and another, and mark the token with its kind."""
        self.flags[node] |= KIND_BITS[kind]
        self.anomalies.add(kind, self.ids[node], self.resolve_id(other))


def top_down(children: NodeLists, size: int) -> array[int]:
    """Return every node below the roots in breadth-first order, so that each comes after its parent."""
    order = children.of(size)
    starts, items = children
    for node in order:  # grows while it is read
        order.extend(items[starts[node] : starts[node + 1]])
    return order
