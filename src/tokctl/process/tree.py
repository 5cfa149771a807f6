"""The tree of an instance's tokens, built from links that may contradict each other.

Every token stands in the tree exactly once: under its ``parent_token_id`` if that token is in the
list; else under the first token that lists it in ``child_tokens``; else as a root. "First" and the
order of siblings are those of ``created_at``, then of the input; unknown times come last. Whatever
does not fit is kept as an ``Anomaly``, and a further parent as a join. A cycle is cut at the link
to one of its tokens, which becomes a root: one that stands in the cycle only because another lists
it, if there is such a token; of these, or of all, the first created.

Nothing recurses. What the tree is held in is ``process.forest``; folding is ``process.fold``, and
the lines of a drawing are ``process.draw``.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

from tokctl.process.forest import (
    BY_LIST,
    BY_PARENT,
    CHILD_MISSING,
    CONFLICTING_PARENT,
    CYCLE,
    DUPLICATE_ID,
    KINDS,
    NO_TIME,
    NONE,
    PARENT_MISSING,
    PARENT_UNNAMED,
    SELF_PARENT,
    UNLISTED_CHILD,
    Anomalies,
    Anomaly,
    Forest,
    Groups,
    TreeRow,
)
from tokctl.process.model import canonical_type, type_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["KINDS", "Anomalies", "Anomaly", "Forest", "TreeRow", "build", "waits_for_several"]

# These pass every token on by itself; the other gateways wait for several and go on as one.
_NEVER_JOINS = frozenset({"exclusiveGateway", "eventBasedGateway"})


def build(rows: Iterable[TreeRow], *, max_examples: int = 1000) -> Forest:
    """Build the forest of an instance's tokens.

    ``rows`` is read once, and no row is kept. Of each kind of anomaly the first ``max_examples``
    are kept; the counts are exact, and every line of a drawing knows its token's own.

    A further parent counts as a proper join where it or the token is at a gateway that waits for
    several, or the token came in over several flows; elsewhere it is drawn as a join, too, and reported as a
    contradiction. A token without a parent that another one lists is reported only if some token
    names a parent: else the source does not send them.
    """
    forest = Forest(max_examples)
    _read(forest, rows)
    _link(forest)
    return forest


def waits_for_several(element_type: str | None) -> bool:
    """Tell whether an element is a gateway that may join: any but exclusive and event-based ones."""
    if element_type is None:
        return False
    element_type = canonical_type(element_type)
    return type_matches(element_type, "gateway") and element_type not in _NEVER_JOINS


def _read(forest: Forest, rows: Iterable[TreeRow]) -> None:
    codes: dict[str, int] = {}  # ids as numbers, in the order in which they are first mentioned
    nodes = array("i")  # by code; NONE for an id that no row has had yet
    labels: dict[tuple[str, str | None, str | None, str], int] = {}
    workers: dict[str | None, int] = {}
    starts, listed = array("i", [0]), array("i")

    def code_of(token_id: str) -> int:
        code = codes.setdefault(token_id, len(codes))
        if code == len(nodes):
            nodes.append(NONE)
        return code

    for row in rows:
        code = code_of(row.token_id)
        if nodes[code] != NONE:
            forest.report(DUPLICATE_ID, nodes[code], nodes[code])
            continue
        nodes[code] = len(forest.ids)
        forest.ids.append(row.token_id)
        forest.flags.append(0)
        label = (row.element_id, row.element_type, row.element_name, row.state)
        forest.label_codes.append(labels.setdefault(label, len(labels)))
        forest.worker_codes.append(workers.setdefault(row.worker_id, len(workers)))
        forest.created.append(NO_TIME if row.created_us is None else row.created_us)
        forest.finished.append(NO_TIME if row.finished_us is None else row.finished_us)
        forest.durations.append(math.nan if row.duration_ms is None else row.duration_ms)
        forest.hops.append(row.hops)
        forest.named.append(NONE if row.parent_token_id is None else code_of(row.parent_token_id))
        forest.lists_children.append(row.child_tokens is not None)
        if row.child_tokens:
            listed.extend(map(code_of, row.child_tokens))
        starts.append(len(listed))

    forest.labels, forest.workers = list(labels), list(workers)
    for token_id, code in codes.items():
        if nodes[code] == NONE:
            nodes[code] = -2 - len(forest.missing)
            forest.missing.append(token_id)
    forest.named = array("i", (NONE if code == NONE else nodes[code] for code in forest.named))
    forest.listed = Groups(starts, array("i", (nodes[code] for code in listed)))


def _link(forest: Forest) -> None:
    size = forest.size
    forest.parents, forest.links = array("i", [size]) * size, bytearray(size)
    for node, parent in enumerate(forest.named):
        if parent == node:
            forest.report(SELF_PARENT, node, node)
        elif parent >= 0:
            forest.parents[node], forest.links[node] = parent, BY_PARENT
        elif parent != NONE:
            forest.report(PARENT_MISSING, node, parent)

    order = _order(forest.created)
    joined, further = _link_listed(forest, order)
    for node in _cycles(forest):
        parent = forest.parents[node]
        forest.report(CYCLE, node, parent)
        joined.append(node)
        further.append(parent)
        forest.parents[node], forest.links[node] = size, 0
    forest.children = Groups.by(array("i", (forest.parents[node] for node in order)), order, size + 1)
    forest.joins = Groups.by(joined, further, size)


def _order(created: array[int]) -> Sequence[int]:
    """Return the nodes in the order of their creation."""
    size = len(created)
    if all(created[node - 1] <= created[node] for node in range(1, size)):
        return range(size)
    return array("i", sorted(range(size), key=created.__getitem__))


def _joins(forest: Forest, child: int, lister: int) -> bool:
    """Tell whether a further parent is a proper join.

    It is one where several flows lead to the child, or where either of the two stands at a gateway
    that waits for several: the early arrivals there list the token that goes on for all of them.
    """
    return (
        forest.hops[child] >= 2
        or waits_for_several(forest.element_type(child))
        or waits_for_several(forest.element_type(lister))
    )


def _link_listed(forest: Forest, order: Sequence[int]) -> tuple[array[int], array[int]]:
    """Use and check what the tokens say of their children; return the joins: children, parents."""
    parents, links, named = forest.parents, forest.links, forest.named
    names_parents = any(parent != NONE for parent in named)
    last_lister = array("i", [NONE]) * forest.size
    confirmed = bytearray(forest.size)
    joined, further = array("i"), array("i")
    for lister, child in _claims(forest.listed, order):
        if child < 0:
            forest.report(CHILD_MISSING, lister, child)
        elif child == lister:
            forest.report(SELF_PARENT, lister, lister)
        elif last_lister[child] != lister:  # the same child twice in one list says nothing new
            last_lister[child] = lister
            if not links[child]:
                parents[child], links[child] = lister, BY_LIST
                if names_parents and named[child] == NONE:
                    forest.report(PARENT_UNNAMED, child, lister)
            elif parents[child] == lister:
                confirmed[child] = 1
            else:
                joined.append(child)
                further.append(lister)
                if not _joins(forest, child, lister):
                    forest.report(CONFLICTING_PARENT, child, lister)
    for node, parent in enumerate(parents):
        if links[node] == BY_PARENT and not confirmed[node] and forest.lists_children[parent]:
            forest.report(UNLISTED_CHILD, node, parent)
    return joined, further


def _claims(listed: Groups, order: Sequence[int]) -> Iterator[tuple[int, int]]:
    starts, items = listed
    for lister in order:
        for position in range(starts[lister], starts[lister + 1]):
            yield lister, items[position]


def _cycles(forest: Forest) -> Iterator[int]:
    """Yield the token of each cycle that becomes a root."""
    unseen, on_path, done = 0, 1, 2
    parents, links = forest.parents, forest.links
    marks = bytearray(forest.size)
    marks.append(done)  # the roots' parent
    path = array("i")
    for start in range(forest.size):
        node = start
        while marks[node] == unseen:
            marks[node] = on_path
            path.append(node)
            node = parents[node]
        if marks[node] == on_path:
            cycle = path[path.index(node) :]
            listed = [member for member in cycle if links[member] == BY_LIST]
            yield min(listed or cycle, key=lambda member: (forest.created[member], member))
        for member in path:
            marks[member] = done
        del path[:]
