"""The ways that an instance has taken: from each root of its tokens' tree to each leaf below it.

Ways over the same elements whose last tokens are in the same state are one path, with their number. Every
token has one place in the tree, so one that was joined from several lies on the way of its parent.
"""

from __future__ import annotations

import math
from datetime import datetime
from heapq import nsmallest

from msgspec import Struct

from tokctl.process.forest import NO_TIME, top_down, zeros
from tokctl.process.history import History
from tokctl.process.model import COMPLETED, is_final, to_micros

MAX_PATHS = 100
MAX_ELEMENTS = 1000


class Path(Struct, frozen=True, kw_only=True):
    """Equal ways through the tree.

    ``elements`` are the ids of its last MAX_ELEMENTS elements, in order; ``elements_left_out`` come before
    them. ``status`` is the state of the last token; ``last_token_id`` is that of the first such way. A way
    takes from its root's creation to the end of its last token, or until now while that is live: the
    longest and the shortest are told (ms), None where times are unknown.
    """

    elements: tuple[str, ...]
    elements_left_out: int
    token_count: int
    status: str
    count: int
    longest_ms: float | None
    shortest_ms: float | None
    last_token_id: str


class Paths(Struct, frozen=True):
    """The first MAX_PATHS paths, how many different ones there are, and how many ways.

    Those whose end is not COMPLETED stand first; then those that were taken most often, in the tree's order.
    """

    paths: tuple[Path, ...]
    different: int
    ways: int


class _Found:
    """Equal ways: the last token of the first, how many there are, and how long they took (us)."""

    __slots__ = ("count", "leaf", "longest", "shortest")

    def __init__(self, leaf: int) -> None:
        self.leaf, self.count = leaf, 0
        self.longest, self.shortest = -math.inf, math.inf


class _Marks:
    """What the ways to each token are told apart by, in columns by node.

    ``marks`` are equal where the elements from the root on are, and there only; ``lengths`` count those
    elements and ``depths`` the tokens; ``roots`` are their first tokens.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        forest = history.forest
        size, parents, starts = forest.size, forest.parents, forest.children.starts
        self.order = top_down(forest.children, size)
        self.marks, self.lengths, self.depths = zeros(size + 1), zeros(size + 1), zeros(size + 1)
        self.roots = zeros(size)
        # A token without siblings, and none above it, is on a way of its own: nothing is compared with it.
        compared = bytearray(size + 1)
        codes = {label[0]: code for code, label in enumerate(forest.labels)}
        known: dict[tuple[int, int], int] = {}
        last = 0
        for node in self.order:
            parent = parents[node]
            mark, length = self.marks[parent], self.lengths[parent]
            compared[node] = compared[parent] or starts[parent + 1] - starts[parent] > 1
            for element in self.elements(node):
                length += 1
                if compared[node]:
                    step = (mark, codes.setdefault(element, len(codes) + len(forest.labels)))
                    mark = known.setdefault(step, last + 1)
                    last = max(last, mark)
                else:
                    mark = last = last + 1
            self.marks[node], self.lengths[node], self.depths[node] = mark, length, self.depths[parent] + 1
            self.roots[node] = node if parent == size else self.roots[parent]

    def elements(self, node: int) -> tuple[str, ...]:
        """Return the ids of the elements that a token went through."""
        history = self._history
        if node not in history.moved:
            return (history.forest.element_id(node),)
        return tuple(history.hop(0, hop).element_id for hop in history.way.hops_of(node))


def paths(history: History, now: datetime) -> Paths:
    """Find the ways that the tokens have taken."""
    forest, told = history.forest, _Marks(history)
    starts, finished, created = forest.children.starts, forest.finished, forest.created
    present = to_micros(now) or 0
    final = [is_final(label[3]) for label in forest.labels]
    found: dict[tuple[int, str], _Found] = {}
    ways = 0
    for node in told.order:
        if starts[node] < starts[node + 1]:
            continue
        ways += 1
        key = (told.marks[node], forest.state(node))
        same = found.get(key)
        if same is None:
            same = found[key] = _Found(node)
        same.count += 1
        begin = created[told.roots[node]]
        end = finished[node] if final[forest.label_codes[node]] else present
        if NO_TIME not in {begin, end}:
            same.longest = max(same.longest, end - begin)
            same.shortest = min(same.shortest, end - begin)
    first = nsmallest(MAX_PATHS, found.items(), key=lambda item: (item[0][1] == COMPLETED, -item[1].count))
    return Paths(tuple(_path(told, history, status, same) for (_, status), same in first), len(found), ways)


def _path(told: _Marks, history: History, status: str, same: _Found) -> Path:
    forest, node = history.forest, same.leaf
    backwards: list[str] = []
    while node != forest.size and len(backwards) < MAX_ELEMENTS:
        backwards += reversed(told.elements(node))
        node = forest.parents[node]
    elements = tuple(reversed(backwards[:MAX_ELEMENTS]))
    known = math.isfinite(same.longest)
    return Path(
        elements=elements,
        elements_left_out=told.lengths[same.leaf] - len(elements),
        token_count=told.depths[same.leaf],
        status=status,
        count=same.count,
        longest_ms=same.longest / 1000 if known else None,
        shortest_ms=same.shortest / 1000 if known else None,
        last_token_id=forest.ids[same.leaf],
    )
