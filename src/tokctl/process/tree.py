"""The tree of an instance's tokens, built from links that may contradict each other.

Every token stands in the tree exactly once: under its ``parent_token_id`` if that token is in the
list; else under the first token that lists it in ``child_tokens``; else as a root. "First" and the
order of siblings are those of ``created_at``, then of the input; unknown times come last. Whatever
does not fit is kept as an ``Anomaly``, and a further parent as a join.

The forest holds columns (arrays indexed by node, a token's number in the input) rather than
objects: a million tokens take tens of megabytes, and nothing here recurses. Folding is
``process.fold``; the lines of a drawing are ``process.draw``.
"""

from __future__ import annotations

import math
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec import Struct

from tokctl.process.model import Duration, Token, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
_BIT = {kind: 1 << position for position, kind in enumerate(KINDS)}

_NO_TIME = 2**63 - 1  # sorts after every known time
_NONE = -1
_BY_PARENT, _BY_LIST = 1, 2
_LINKS = (None, "parent_token_id", "child_tokens")

# These pass every token on by itself; the other gateways wait for several and go on as one.
_NEVER_JOINS = frozenset({"exclusiveGateway", "eventBasedGateway"})


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
    def from_token(cls, token: Token) -> Self:
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
        starts = _zeros(size + 1)
        for key in keys:
            starts[key + 1] += 1
        starts = array("i", accumulate(starts))
        position, items = starts[:], _zeros(len(values))
        for key, value in zip(keys, values, strict=True):
            items[position[key]] = value
            position[key] += 1
        return cls(starts, items)


def _zeros(size: int) -> array[int]:
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
        self._created, self._finished = array("q"), array("q")
        self._durations = array("d")
        self._hops = array("i")
        self._workers: list[str | None] = []
        self._worker_codes = array("i")
        self._named = array("i")  # parent_token_id: a node, -1, or -2 - k for the k-th missing id
        self._lists_children = bytearray()
        self._listed = Groups(array("i"), array("i"))  # child_tokens, likewise
        self._missing: list[str] = []

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

    def row(self, node: int) -> TreeRow:
        """Give a token back as the row it came in."""
        element_id, element_type, element_name, state = self.labels[self.label_codes[node]]
        created, finished, given = self._created[node], self._finished[node], self._durations[node]
        children = None
        if self._lists_children[node]:
            children = tuple(self._name(reference) for reference in self._listed.of(node))
        return TreeRow(
            self.ids[node],
            element_id,
            state,
            None if self._named[node] == _NONE else self._name(self._named[node]),
            children,
            element_type,
            element_name,
            None if created == _NO_TIME else created,
            None if finished == _NO_TIME else finished,
            None if math.isnan(given) else given,
            self._workers[self._worker_codes[node]],
            self._hops[node],
        )

    def duration_ms(self, node: int) -> float | None:
        """Return how long a token took, given or derived."""
        given = self._durations[node]
        if math.isfinite(given):
            return given
        if self._created[node] == _NO_TIME or self._finished[node] == _NO_TIME:
            return None
        return (self._finished[node] - self._created[node]) / 1000

    def finished_us(self, node: int) -> int | None:
        """Return when a token ended, in microseconds."""
        return None if self._finished[node] == _NO_TIME else self._finished[node]

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
        return tuple(kind for kind in KINDS if mask & _BIT[kind]) if mask else ()

    def top_down(self) -> array[int]:
        """Return every node after its parent, level by level."""
        return top_down(self.children, self.size)

    # --- building -------------------------------------------------------------------------------

    def _name(self, reference: int) -> str:
        return self.ids[reference] if reference >= 0 else self._missing[-2 - reference]

    def _report(self, kind: str, node: int, other: int) -> None:
        self.flags[node] |= _BIT[kind]
        self.anomalies.add(kind, self.ids[node], self._name(other))

    def _read(self, rows: Iterable[TreeRow]) -> None:
        codes: dict[str, int] = {}  # ids as numbers, in the order in which they are first mentioned
        nodes = array("i")  # by code; -1 for an id that no row has had yet
        labels: dict[tuple[str, str | None, str | None, str], int] = {}
        workers: dict[str | None, int] = {}
        starts, listed = array("i", [0]), array("i")

        def code_of(token_id: str) -> int:
            code = codes.setdefault(token_id, len(codes))
            if code == len(nodes):
                nodes.append(_NONE)
            return code

        for row in rows:
            code = code_of(row.token_id)
            if nodes[code] != _NONE:
                self._report(DUPLICATE_ID, nodes[code], nodes[code])
                continue
            nodes[code] = len(self.ids)
            self.ids.append(row.token_id)
            self.flags.append(0)
            label = (row.element_id, row.element_type, row.element_name, row.state)
            self.label_codes.append(labels.setdefault(label, len(labels)))
            self._worker_codes.append(workers.setdefault(row.worker_id, len(workers)))
            self._created.append(_NO_TIME if row.created_us is None else row.created_us)
            self._finished.append(_NO_TIME if row.finished_us is None else row.finished_us)
            self._durations.append(math.nan if row.duration_ms is None else row.duration_ms)
            self._hops.append(row.hops)
            self._named.append(_NONE if row.parent_token_id is None else code_of(row.parent_token_id))
            self._lists_children.append(row.child_tokens is not None)
            if row.child_tokens:
                listed.extend(map(code_of, row.child_tokens))
            starts.append(len(listed))

        self.labels, self._workers = list(labels), list(workers)
        for token_id, code in codes.items():
            if nodes[code] == _NONE:
                nodes[code] = -2 - len(self._missing)
                self._missing.append(token_id)
        self._named = array("i", (_NONE if code == _NONE else nodes[code] for code in self._named))
        self._listed = Groups(starts, array("i", (nodes[code] for code in listed)))

    def _link(self) -> None:
        size = self.size
        self.parents, self.links = array("i", [size]) * size, bytearray(size)
        for node, parent in enumerate(self._named):
            if parent == node:
                self._report(SELF_PARENT, node, node)
            elif parent >= 0:
                self.parents[node], self.links[node] = parent, _BY_PARENT
            elif parent != _NONE:
                self._report(PARENT_MISSING, node, parent)

        order = self._in_order()
        joined, further = self._link_listed(order)
        for node in self._cut_cycles():
            self._report(CYCLE, node, self.parents[node])
            joined.append(node)
            further.append(self.parents[node])
            self.parents[node], self.links[node] = size, 0
        self.children = Groups.by(array("i", (self.parents[node] for node in order)), order, size + 1)
        self.joins = Groups.by(joined, further, size)

    def _in_order(self) -> Sequence[int]:
        created, size = self._created, self.size
        if all(created[node - 1] <= created[node] for node in range(1, size)):
            return range(size)
        return array("i", sorted(range(size), key=created.__getitem__))

    def _link_listed(self, order: Iterable[int]) -> tuple[array[int], array[int]]:
        """Use and check what the tokens say of their children; return the joins: child, parent."""
        size = self.size
        names_parents = any(parent != _NONE for parent in self._named)
        last_lister = array("i", [_NONE]) * size
        confirmed = bytearray(size)
        joined, further = array("i"), array("i")
        for lister, child in self._claims(order):
            if child < 0:
                self._report(CHILD_MISSING, lister, child)
            elif child == lister:
                self._report(SELF_PARENT, lister, lister)
            elif last_lister[child] != lister:  # the same child twice in one list says nothing new
                last_lister[child] = lister
                if self.links[child] == 0:
                    self.parents[child], self.links[child] = lister, _BY_LIST
                    if names_parents and self._named[child] == _NONE:
                        self._report(PARENT_UNNAMED, child, lister)
                elif self.parents[child] == lister:
                    confirmed[child] = 1
                else:
                    joined.append(child)
                    further.append(lister)
                    if not self._is_join(child):
                        self._report(CONFLICTING_PARENT, child, lister)
        for node in range(size):
            if self.links[node] == _BY_PARENT and not confirmed[node]:
                parent = self.parents[node]
                if self._lists_children[parent]:
                    self._report(UNLISTED_CHILD, node, parent)
        return joined, further

    def _claims(self, order: Iterable[int]) -> Iterator[tuple[int, int]]:
        starts, items = self._listed
        for lister in order:
            for position in range(starts[lister], starts[lister + 1]):
                yield lister, items[position]

    def _is_join(self, node: int) -> bool:
        """Tell whether several parents are right: a gateway that waits, or several ways in."""
        element_type = self.labels[self.label_codes[node]][1] or ""
        joins = element_type.lower().endswith("gateway") and element_type not in _NEVER_JOINS
        return joins or self._hops[node] > 1

    def _cut_cycles(self) -> Iterator[int]:
        """Yield the token of each cycle that becomes a root.

        It is one that stands there only because another lists it, if the cycle has such; of these,
        or of all, the first created.
        """
        unseen, on_path, done = 0, 1, 2
        marks = bytearray(self.size)
        marks.append(done)  # the roots' parent
        path = array("i")
        for start in range(self.size):
            node = start
            while marks[node] == unseen:
                marks[node] = on_path
                path.append(node)
                node = self.parents[node]
            if marks[node] == on_path:
                cycle = path[path.index(node) :]
                weak = [member for member in cycle if self.links[member] == _BY_LIST]
                yield min(weak or cycle, key=lambda member: (self._created[member], member))
            for member in path:
                marks[member] = done
            del path[:]


def top_down(children: Groups, size: int) -> array[int]:
    """Return every node that hangs below the roots, each after its parent."""
    order = children.of(size)
    starts, items = children
    for node in order:  # grows while it is read
        order.extend(items[starts[node] : starts[node + 1]])
    return order


def build(rows: Iterable[TreeRow], *, max_examples: int = 1000) -> Forest:
    """Build the forest of an instance's tokens.

    ``rows`` is read once, and no row is kept. Of each kind of anomaly the first ``max_examples``
    are kept; the counts are exact, and every line of a drawing knows its token's own.

    A further parent counts as a proper join where the token is at a gateway that waits for several
    (any but the exclusive and the event-based one) or came in over several flows; elsewhere it is
    drawn as a join, too, and reported as a contradiction. A token without a parent that another
    one lists is reported only if some token names a parent: else the source does not send them.
    """
    forest = Forest(max_examples)
    forest._read(rows)  # noqa: SLF001
    forest._link()  # noqa: SLF001
    return forest
