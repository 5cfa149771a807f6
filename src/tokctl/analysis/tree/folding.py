"""Finds what a drawing of a forest can fold: equal subtrees, and the passes of loops.

All of it works on numbers: nodes, and numbers for labels and shapes. The lines are drawn by ``drawing``.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING

from tokctl.analysis.tree.forest import Forest, NodeLists, top_down

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PERIOD = 32
"""The longest loop that is found, in elements."""


def number_labels(forest: Forest, context: bytearray | None) -> array[int]:
    """Return a number for the label of each token; tokens with equal numbers may be folded.

    A label consists of element and state, the anomalies, the elements of further parents, and whether the token only
    leads to a match of a filter (``context``): a token that stands out is not folded with others.
    """
    codes = forest.label_codes[:]
    special: dict[tuple[object, ...], int] = {}
    starts = forest.joins.starts
    for node, flags in enumerate(forest.flags):
        leads = context[node] if context else 0
        if flags or leads or starts[node] < starts[node + 1]:
            others = tuple(sorted(forest.label_codes[other] for other in forest.joins.of(node)))
            key = (codes[node], flags, leads, others)
            codes[node] = special.setdefault(key, len(forest.labels) + len(special))
    return codes


def number_shapes(codes: array[int], children: NodeLists) -> array[int]:
    """Return a number for the shape of each subtree; two subtrees have the same number if, and only if, they are equal.

    Subtrees are equal if their labels are equal and their child subtrees are equal in any order: the tree isomorphism
    algorithm of Aho, Hopcroft and Ullman (1974), from the leaves up. A node is compared only if it or an ancestor has
    siblings; other nodes get 0.
    """
    size = len(codes)
    starts, items = children
    order = top_down(children, size)
    compared = bytearray(size)
    for node in chain((size,), order):
        start, end = starts[node], starts[node + 1]
        if end - start > 1 or (node < size and compared[node]):
            for child in items[start:end]:
                compared[child] = 1

    known: dict[int | tuple[int, ...], int] = {}
    result = array("i", bytes(4 * size))
    for node in reversed(order):
        if not compared[node]:
            continue
        start, end = starts[node], starts[node + 1]
        key: int | tuple[int, ...]
        if end - start <= 1:  # packed into one number, because most nodes are in a sequence
            key = codes[node] << 32 | (result[items[start]] if start < end else 0)
        else:
            key = (codes[node], *sorted(result[child] for child in items[start:end]))
        result[node] = known.setdefault(key, len(known) + 1)
    return result


def find_branching_loops(
    codes: array[int], shapes: array[int], children: NodeLists
) -> tuple[dict[int, tuple[int, int]], array[int]]:
    """Find the loops whose passes split.

    If a pass splits, the next pass is below one of its branches. That is assumed to be the branch with most tokens, the
    main child. Passes are equal if the elements along the main children are, and the shapes of the other branches. (The
    main children divide the tree into heavy paths, and ``divide_into_runs`` finds the loops on each.)

    Returns:
        (elements, passes) of each loop by its first node; and the main child of each node, -1 for leaves.
    """
    size = len(codes)
    starts, items = children
    order = top_down(children, size)
    main_children, below, splits = array("i", [-1]) * size, array("i", [1]) * size, False
    for node in reversed(order):
        for child in items[starts[node] : starts[node + 1]]:
            below[node] += below[child]
            if main_children[node] < 0 or below[child] > below[main_children[node]]:
                main_children[node] = child
        splits = splits or starts[node + 1] - starts[node] > 1

    found: dict[int, tuple[int, int]] = {}
    if not splits:
        return found, main_children
    known: dict[tuple[int, ...], int] = {}
    on_path = bytearray(size)
    for top in order:  # each node is on one path of main children, which starts at ``top``
        if on_path[top]:
            continue
        path, labels, splits_at = array("i"), array("i"), []
        node = top
        while node >= 0:
            on_path[node] = 1
            label = codes[node]
            if starts[node + 1] - starts[node] > 1:
                splits_at.append(len(path))
                others = (shapes[child] for child in children.of(node) if child != main_children[node])
                label = -1 - known.setdefault((label, *sorted(others)), len(known))
            path.append(node)
            labels.append(label)
            node = main_children[node]
        if len(splits_at) < 2:
            continue
        position = 0
        for steps, passes in divide_into_runs(labels):
            if passes > 1 and any(position <= split < position + steps for split in splits_at):
                found[path[position]] = (steps, passes)
            position += steps * passes
    return found, main_children


def divide_into_runs(codes: array[int]) -> Iterator[tuple[int, int]]:
    """Divide a sequence into runs: (elements, passes), with passes = 1 for what is not repeated.

    From left to right, the run that covers most of the sequence is taken; if two cover as much, the one with the
    shorter loop. A loop has at least two passes and at most MAX_PERIOD elements.
    """
    size = len(codes)
    following = array("i", bytes(4 * size))
    nearest: dict[int, int] = {}
    for position in range(size - 1, -1, -1):
        following[position] = nearest.get(codes[position], size)
        nearest[codes[position]] = position

    position = 0
    while position < size:
        period, passes = 1, 1
        again = following[position]
        while again < size and again - position <= MAX_PERIOD:
            length = again - position
            # A multiple of the loop found so far that begins inside it cannot cover more.
            if passes == 1 or length % period or length > period * passes:
                end = again
                while end < size and codes[end] == codes[end - length]:
                    end += 1
                times = (end - position) // length
                if times > 1 and times * length > period * passes:
                    period, passes = length, times
            again = following[again]
        yield period, passes
        position += period * passes
