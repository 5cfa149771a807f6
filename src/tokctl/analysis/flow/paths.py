"""The execution paths of an instance: from each root of the tree of its tokens to each leaf.

Paths over the same elements whose last tokens are in the same state are counted as one. Every token has one place in
the tree, so a joined token is on the path of its parent only.
"""

from __future__ import annotations

import math
from datetime import datetime
from heapq import nsmallest

from msgspec import Struct

from tokctl.analysis.history import InstanceHistory
from tokctl.analysis.tree.forest import NO_TIME, top_down, zero_array
from tokctl.model.states import COMPLETED, is_final
from tokctl.model.times import to_micros

MAX_PATHS = 100
MAX_PATH_ELEMENTS = 1000


class ExecutionPath(Struct, frozen=True, kw_only=True):
    """``count`` equal paths.

    ``elements`` are the ids of the last MAX_PATH_ELEMENTS elements, in order; ``elements_left_out`` is the number of
    elements before them. ``status`` is the state of the last token; ``last_token_id`` is that of the first path. A
    path takes from the creation of its root to the end of its last token, or until now while that is live;
    ``longest_ms`` and ``shortest_ms`` are None if all times are unknown.
    """

    elements: tuple[str, ...]
    elements_left_out: int
    token_count: int
    status: str
    count: int
    longest_ms: float | None
    shortest_ms: float | None
    last_token_id: str


class ExecutionPaths(Struct, frozen=True):
    """At most MAX_PATHS different paths, the number of different paths, and the number of all paths (``ways``).

    Paths whose end is not COMPLETED come first, then those taken most often, then in the order of the tree.
    """

    paths: tuple[ExecutionPath, ...]
    distinct_count: int
    ways: int


class _PathGroup:
    """Equal paths: the last token of the first, their number, and how long they took (µs)."""

    __slots__ = ("count", "leaf", "longest", "shortest")

    def __init__(self, leaf: int) -> None:
        self.leaf, self.count = leaf, 0
        self.longest, self.shortest = -math.inf, math.inf


class _PathKeys:
    """A key for the path from the root to each token, in columns by node.

    Two tokens have the same mark in ``marks`` if, and only if, the elements from their roots on are the same. A mark
    stands for the mark of the parent followed by an element, so each path is compared one step at a time. ``lengths``
    are the numbers of elements, ``depths`` the numbers of tokens, ``roots`` the first tokens.
    """

    def __init__(self, history: InstanceHistory) -> None:
        self._history = history
        forest = history.forest
        size, parents, starts = forest.size, forest.parents, forest.children.starts
        self.order = top_down(forest.children, size)
        self.marks, self.lengths, self.depths = zero_array(size + 1), zero_array(size + 1), zero_array(size + 1)
        self.roots = zero_array(size)
        # As long as there is one root and no token has siblings, there is one path only, and nothing to compare.
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
        """Return the ids of the elements that a token moved through."""
        history = self._history
        if node not in history.moved:
            return (history.forest.element_id(node),)
        return tuple(history.hop(0, hop).element_id for hop in history.flow_columns.hop_range(node))


def find_paths(history: InstanceHistory, now: datetime) -> ExecutionPaths:
    """Return the execution paths of an instance; live tokens (FAILED ones, too) count until ``now``."""
    forest, path_keys = history.forest, _PathKeys(history)
    starts, finished, created = forest.children.starts, forest.finished, forest.created
    now_us = to_micros(now) or 0
    live = [not is_final(label[3]) for label in forest.labels]
    found: dict[tuple[int, str], _PathGroup] = {}
    ways = 0
    for node in path_keys.order:
        if starts[node] < starts[node + 1]:
            continue
        ways += 1
        key = (path_keys.marks[node], forest.state(node))
        group = found.get(key)
        if group is None:
            group = found[key] = _PathGroup(node)
        group.count += 1
        begin = created[path_keys.roots[node]]
        end = now_us if live[forest.label_codes[node]] else finished[node]
        if NO_TIME not in {begin, end}:
            group.longest = max(group.longest, end - begin)
            group.shortest = min(group.shortest, end - begin)
    first = nsmallest(MAX_PATHS, found.items(), key=lambda item: (item[0][1] == COMPLETED, -item[1].count))
    return ExecutionPaths(
        tuple(_path(path_keys, history, status, group) for (_, status), group in first), len(found), ways
    )


def _path(path_keys: _PathKeys, history: InstanceHistory, status: str, group: _PathGroup) -> ExecutionPath:
    forest, node = history.forest, group.leaf
    backwards: list[str] = []
    while node != forest.size and len(backwards) < MAX_PATH_ELEMENTS:
        backwards += reversed(path_keys.elements(node))
        node = forest.parents[node]
    elements = tuple(reversed(backwards[:MAX_PATH_ELEMENTS]))
    known = math.isfinite(group.longest)
    return ExecutionPath(
        elements=elements,
        elements_left_out=path_keys.lengths[group.leaf] - len(elements),
        token_count=path_keys.depths[group.leaf],
        status=status,
        count=group.count,
        longest_ms=group.longest / 1000 if known else None,
        shortest_ms=group.shortest / 1000 if known else None,
        last_token_id=forest.ids[group.leaf],
    )
