"""A forest of tokens in columns: what the tree of an instance is held in.

Columns are arrays indexed by node (a token's number in the input) rather than objects: a million
tokens take some two hundred bytes each, their ids included, and nothing needs recursion. How the
links are read is ``process.tree``.
"""

from __future__ import annotations

import math
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec import Struct

from tokctl.process.model import Duration, Token, to_micros
from tokctl.process.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Sequence

PARENT_MISSING = "PARENT_MISSING"
PARENT_UNNAMED = "PARENT_UNNAMED"
CHILD_MISSING = "CHILD_MISSING"
UNLISTED_CHILD = "UNLISTED_CHILD"
CONFLICTING_PARENT = "CONFLICTING_PARENT"
SELF_PARENT = "SELF_PARENT"
CYCLE = "CYCLE"
DUPLICATE_ID = "DUPLICATE_ID"

MESSAGES = {
    PARENT_MISSING: "{token} names {other} as its parent, which is not in the list",
    PARENT_UNNAMED: "{token} names no parent, but {other} lists it as its child",
    CHILD_MISSING: "{token} lists {other} as its child, which is not in the list",
    UNLISTED_CHILD: "{token} names {other} as its parent, which does not list it",
    CONFLICTING_PARENT: "{token} is listed as a child by {other} too, and is no join",
    SELF_PARENT: "{token} names itself as its own parent or child",
    CYCLE: "{token} is its own ancestor; the link to its parent {other} is cut",
    DUPLICATE_ID: "{token} occurs more than once; the first is kept",
}
"""Every kind of anomaly, with the sentence that says it."""

KINDS = tuple(MESSAGES)
BIT = {kind: 1 << position for position, kind in enumerate(KINDS)}

NO_TIME = 2**63 - 1  # sorts after every known time
NONE = -1
BY_PARENT, BY_LIST = 1, 2
_LINKS = (None, "parent_token_id", "child_tokens")


class TreeRow(Struct, frozen=True, gc=False):
    """What the tree needs of a token. Times are microseconds since 1970-01-01 UTC.

    ``child_tokens`` is None where the source does not say; ``hops`` is the number of flow history
    entries, 0 where unknown; ``duration_ms`` is the given one, never a derived one.
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

    @classmethod
    def from_token(cls, token: Token | Visit) -> Self:
        """Take from a token what the tree needs."""
        context = token.context
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
            len(token.hops),
        )

    @property
    def name(self) -> str:
        """The element's name, or its id where it has none."""
        return self.element_name or self.element_id

    @property
    def duration(self) -> Duration | None:
        """How long the token took, given or derived; None while live or where times lack."""
        if self.duration_ms is not None and math.isfinite(self.duration_ms):
            return Duration(self.duration_ms, derived=False)
        if self.created_us is None or self.finished_us is None:
            return None
        return Duration((self.finished_us - self.created_us) / 1000, derived=True)


class Anomaly(Struct, frozen=True):
    """A contradiction in the links: its kind, the token, the other token's id, and a sentence."""

    kind: str
    token_id: str
    other_id: str | None
    message: str


class Anomalies:
    """The contradictions of a forest: exact counts of every kind, and the first of each."""

    def __init__(self, limit: int) -> None:
        self.counts: dict[str, int] = {}
        self.examples: list[Anomaly] = []
        self._limit = limit

    @property
    def total(self) -> int:
        """How many there are, kept as examples or not."""
        return sum(self.counts.values())

    def add(self, kind: str, token: str, other: str | None) -> None:
        """Count a contradiction, and keep it while there are few of its kind."""
        count = self.counts.get(kind, 0) + 1
        self.counts[kind] = count
        if count <= self._limit:
            message = MESSAGES[kind].format(token=token, other=other)
            self.examples.append(Anomaly(kind, token, other, message))


class Groups(NamedTuple):
    """Lists of nodes by node, in two arrays: ``items[starts[i] : starts[i + 1]]`` belong to i."""

    starts: array[int]
    items: array[int]

    def of(self, node: int) -> array[int]:
        """Return a copy of a node's list."""
        return self.items[self.starts[node] : self.starts[node + 1]]

    @classmethod
    def by(cls, keys: Sequence[int], values: Sequence[int], size: int) -> Self:
        """Put each value into the list of its key, in order; keys are below ``size``."""
        starts = zeros(size + 1)
        for key in keys:
            starts[key + 1] += 1
        starts = array("i", accumulate(starts))
        position, items = starts[:], zeros(len(values))
        for key, value in zip(keys, values, strict=True):
            items[position[key]] = value
            position[key] += 1
        return cls(starts, items)


def zeros(size: int) -> array[int]:
    """Return an array of that many zeros."""
    return array("i", bytes(4 * size))


class Forest:
    """Tokens in their tree. Attributes in the plural are columns, indexed by node.

    ``children`` has one list more than there are tokens: the last is the roots'.
    """

    def __init__(self, max_examples: int) -> None:
        self.anomalies = Anomalies(max_examples)
        self.ids: list[str] = []
        self.labels: list[tuple[str, str | None, str | None, str]] = []  # element id, type, name, state
        self.label_codes = array("i")
        self.parents = array("i")  # in the tree; size for a root
        self.links = bytearray()
        self.flags = array("H")
        self.children = Groups(array("i"), array("i"))
        self.joins = Groups(array("i"), array("i"))
        self.created, self.finished = array("q"), array("q")
        self.durations = array("d")
        self.hops = array("i")
        self.workers: list[str | None] = []
        self.worker_codes = array("i")
        self.named = array("i")  # parent_token_id: a node, -1, or -2 - k for the k-th missing id
        self.lists_children = bytearray()
        self.listed = Groups(array("i"), array("i"))  # child_tokens, likewise
        self.missing: list[str] = []

    @property
    def size(self) -> int:
        """The number of tokens, duplicates not counted."""
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
        """Give a token back as the row it came in."""
        element_id, element_type, element_name, state = self.labels[self.label_codes[node]]
        created, finished, given = self.created[node], self.finished[node], self.durations[node]
        children = None
        if self.lists_children[node]:
            children = tuple(self.name_of(reference) for reference in self.listed.of(node))
        return TreeRow(
            self.ids[node],
            element_id,
            state,
            None if self.named[node] == NONE else self.name_of(self.named[node]),
            children,
            element_type,
            element_name,
            None if created == NO_TIME else created,
            None if finished == NO_TIME else finished,
            None if math.isnan(given) else given,
            self.workers[self.worker_codes[node]],
            self.hops[node],
        )

    def duration_ms(self, node: int) -> float | None:
        """Return how long a token took, given or derived."""
        given = self.durations[node]
        if math.isfinite(given):
            return given
        if self.created[node] == NO_TIME or self.finished[node] == NO_TIME:
            return None
        return (self.finished[node] - self.created[node]) / 1000

    def created_us(self, node: int) -> int | None:
        """Return when a token was created, in microseconds."""
        return None if self.created[node] == NO_TIME else self.created[node]

    def finished_us(self, node: int) -> int | None:
        """Return when a token ended, in microseconds."""
        return None if self.finished[node] == NO_TIME else self.finished[node]

    def parent(self, node: int) -> int | None:
        """Return the node above, None for a root."""
        return None if self.parents[node] == self.size else self.parents[node]

    def parent_id(self, node: int) -> str | None:
        """Return the id of the token above, None for a root."""
        return None if self.parents[node] == self.size else self.ids[self.parents[node]]

    def linked_by(self, node: int) -> str | None:
        """Name the field that puts a token under its parent; None for a root."""
        return _LINKS[self.links[node]]

    def join_ids(self, node: int) -> tuple[str, ...]:
        """Return the ids of a token's further parents."""
        return tuple(self.ids[other] for other in self.joins.of(node))

    def kinds(self, node: int) -> tuple[str, ...]:
        """Return the kinds of contradiction that a token takes part in."""
        mask = self.flags[node]
        return tuple(kind for kind in KINDS if mask & BIT[kind]) if mask else ()

    def depths(self) -> array[int]:
        """Return how many tokens stand above each."""
        depths = zeros(self.size + 1)
        depths[self.size] = -1  # the roots' parent
        for node in top_down(self.children, self.size):
            depths[node] = depths[self.parents[node]] + 1
        return depths

    def name_of(self, reference: int) -> str:
        """Return the id behind a reference: a node, or -2 - k for the k-th missing id."""
        return self.ids[reference] if reference >= 0 else self.missing[-2 - reference]

    def report(self, kind: str, node: int, other: int) -> None:
        """Keep a contradiction between a token and another, and mark the token with it."""
        self.flags[node] |= BIT[kind]
        self.anomalies.add(kind, self.ids[node], self.name_of(other))


def top_down(children: Groups, size: int) -> array[int]:
    """Return every node that hangs below the roots, each after its parent."""
    order = children.of(size)
    starts, items = children
    for node in order:  # grows while it is read
        order.extend(items[starts[node] : starts[node + 1]])
    return order
