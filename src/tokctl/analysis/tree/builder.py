"""Builds the tree of an instance's tokens from links that may contradict each other.

Every token is in the tree exactly once: below its ``parent_token_id`` if that token exists; else below the first token
that lists it in ``child_tokens``; else as a root. "First", and the order of siblings, is that of ``created_at``, then
of the input; unknown times come last. Contradictions are recorded as anomalies, and further parents as joins. A cycle
is cut at the link from one of its tokens to its parent, and that token becomes a root: the first created of those that
are in the cycle only because another token lists them or, if there are none, of all.

Nothing is recursive, because a loop makes a tree a million levels deep. The columns of the tree are in ``forest``,
folding is in ``folding``, and the lines of a drawing are in ``drawing``.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

from tokctl.analysis.tree.forest import (
    LINKED_BY_CHILD_LIST,
    LINKED_BY_PARENT,
    NO_NODE,
    NO_TIME,
    Forest,
    NodeLists,
    TreeRow,
)
from tokctl.model.element_types import is_joining_gateway
from tokctl.model.tokens import Certainty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def build_forest(
    rows: Iterable[TreeRow], *, max_examples: int = 1000, max_examples_of_token: int | None = None
) -> Forest:
    """Build the forest of an instance's tokens.

    A further parent is a proper join if it or the token is at a gateway that may join, or the token arrived on several
    flows. Other further parents are joins, too, but also an anomaly. A token without a parent that another one lists is
    an anomaly only if some token names a parent; otherwise the source does not send parents. ``max_examples`` anomalies
    of each kind are kept; their counts, and the kinds of each token, are complete.
    """
    forest = Forest(max_examples, max_examples_of_token)
    _read(forest, rows)
    _link(forest)
    return forest


def _read(forest: Forest, rows: Iterable[TreeRow]) -> None:
    codes: dict[str, int] = {}  # token ids as numbers, in the order of their first occurrence
    nodes = array("i")  # by code; NO_NODE for ids without a row so far
    labels: dict[tuple[str, str | None, str | None, str], int] = {}
    workers: dict[str | None, int] = {}
    starts, listed = array("i", [0]), array("i")

    def code_of(token_id: str) -> int:
        code = codes.setdefault(token_id, len(codes))
        if code == len(nodes):
            nodes.append(NO_NODE)
        return code

    for row in rows:
        forest.unknown_entries += row.entry_is_unknown
        code = code_of(row.token_id)
        if nodes[code] != NO_NODE:
            forest.record_anomaly("DUPLICATE_ID", nodes[code], nodes[code])
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
        if row.certainty is not Certainty.RECORDED:
            forest.certainties[nodes[code]] = row.certainty
        forest.parent_refs.append(NO_NODE if row.parent_token_id is None else code_of(row.parent_token_id))
        forest.lists_children.append(row.child_tokens is not None)
        if row.child_tokens:
            listed.extend(map(code_of, row.child_tokens))
        starts.append(len(listed))

    forest.labels, forest.workers = list(labels), list(workers)
    for token_id, code in codes.items():
        if nodes[code] == NO_NODE:
            nodes[code] = -2 - len(forest.missing_ids)
            forest.missing_ids.append(token_id)
    forest.parent_refs = array("i", (NO_NODE if code == NO_NODE else nodes[code] for code in forest.parent_refs))
    forest.listed = NodeLists(starts, array("i", (nodes[code] for code in listed)))


def _link(forest: Forest) -> None:
    size = forest.size
    forest.parents, forest.links = array("i", [size]) * size, bytearray(size)
    for node, parent in enumerate(forest.parent_refs):
        if parent == node:
            forest.record_anomaly("SELF_PARENT", node, node)
        elif parent >= 0:
            forest.parents[node], forest.links[node] = parent, LINKED_BY_PARENT
        elif parent != NO_NODE:
            forest.record_anomaly("PARENT_MISSING", node, parent)

    order = _sort_by_creation(forest.created)
    joined, extra_parents = _link_listed(forest, order)
    for node in _find_cycles(forest):
        parent = forest.parents[node]
        forest.record_anomaly("CYCLE", node, parent)
        joined.append(node)
        extra_parents.append(parent)
        forest.parents[node], forest.links[node] = size, 0
    forest.children = NodeLists.from_pairs(array("i", (forest.parents[node] for node in order)), order, size + 1)
    forest.joins = NodeLists.from_pairs(joined, extra_parents, size)


def _sort_by_creation(created: array[int]) -> Sequence[int]:
    """Return the nodes by time of creation."""
    size = len(created)
    if all(created[node - 1] <= created[node] for node in range(1, size)):
        return range(size)
    return array("i", sorted(range(size), key=created.__getitem__))


def _is_join(forest: Forest, child: int, lister: int) -> bool:
    """Tell whether a further parent is a proper join.

    It is if the child arrived on several flows, or if one of the two is at a gateway that may join: the tokens that
    arrived there first list the token that continues for all of them.
    """
    return forest.hops[child] >= 2 or any(is_joining_gateway(forest.element_type(node)) for node in (child, lister))


def _link_listed(forest: Forest, order: Sequence[int]) -> tuple[array[int], array[int]]:
    """Link tokens by the children that they list, and check these lists; return the joins as children and parents."""
    parents, links, parent_refs = forest.parents, forest.links, forest.parent_refs
    names_parents = any(parent != NO_NODE for parent in parent_refs)
    last_lister = array("i", [NO_NODE]) * forest.size
    confirmed = bytearray(forest.size)
    joined, extra_parents = array("i"), array("i")
    for lister, child in ((node, child) for node in order for child in forest.listed.of(node)):
        if child < 0:
            forest.record_anomaly("CHILD_MISSING", lister, child)
        elif child == lister:
            forest.record_anomaly("SELF_PARENT", lister, lister)
        elif last_lister[child] != lister:  # a duplicate in a list is ignored
            last_lister[child] = lister
            if not links[child]:
                parents[child], links[child] = lister, LINKED_BY_CHILD_LIST
                if names_parents and parent_refs[child] == NO_NODE:
                    forest.record_anomaly("PARENT_UNNAMED", child, lister)
            elif parents[child] == lister:
                confirmed[child] = 1
            else:
                joined.append(child)
                extra_parents.append(lister)
                if not _is_join(forest, child, lister):
                    forest.record_anomaly("CONFLICTING_PARENT", child, lister)
    for node, parent in enumerate(parents):
        if links[node] == LINKED_BY_PARENT and not confirmed[node] and forest.lists_children[parent]:
            forest.record_anomaly("UNLISTED_CHILD", node, parent)
    return joined, extra_parents


def _find_cycles(forest: Forest) -> Iterator[int]:
    """Yield the token of each cycle that is to become a root."""
    unseen, on_path, done = 0, 1, 2
    parents, links = forest.parents, forest.links
    marks = bytearray(forest.size)
    marks.append(done)  # the parent of the roots
    path = array("i")
    for start in range(forest.size):
        node = start
        while marks[node] == unseen:
            marks[node] = on_path
            path.append(node)
            node = parents[node]
        if marks[node] == on_path:
            cycle = path[path.index(node) :]
            listed = [member for member in cycle if links[member] == LINKED_BY_CHILD_LIST]
            yield min(listed or cycle, key=lambda member: (forest.created[member], member))
        for member in path:
            marks[member] = done
        del path[:]
