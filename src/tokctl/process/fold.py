"""What may be folded in a drawing of a forest: equal subtrees and the passes of loops.

Works on numbers only: nodes, labels and shapes. Drawing is ``process.draw``.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tokctl.process.forest import Forest, Groups, top_down

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PERIOD = 32
"""The longest loop, in elements, that is looked for."""


def labels(forest: Forest, context: bytearray | None) -> array[int]:
    """Return a number for what each token's line says; equal numbers may fold.

    Element and state count, and so do contradictions, the elements of further parents, and whether
    the token only leads to a match: a token that stands out is never folded into ones that do not.
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


def shapes(codes: array[int], children: Groups) -> array[int]:
    """Return a number for each subtree: the same number for equal ones, and for no others.

    Equal are subtrees with equal labels and, in any order, equal subtrees below. A node without
    siblings, and none above it, is compared with nothing and gets 0.
    """
    size = len(codes)
    starts, items = children
    order = top_down(children, size)
    compared = bytearray(size)
    if starts[size + 1] - starts[size] > 1:
        for root in children.of(size):
            compared[root] = 1
    for node in order:
        start, end = starts[node], starts[node + 1]
        if compared[node] or end - start > 1:
            for position in range(start, end):
                compared[items[position]] = 1

    known: dict[int | tuple[int, ...], int] = {}
    result = array("i", bytes(4 * size))
    for node in reversed(order):
        if not compared[node]:
            continue
        start, end = starts[node], starts[node + 1]
        key: int | tuple[int, ...]
        if end - start <= 1:  # packed into one number: most nodes are in a sequence
            key = codes[node] << 32 | (result[items[start]] if start < end else 0)
        else:
            key = (codes[node], *sorted(result[child] for child in items[start:end]))
        result[node] = known.setdefault(key, len(known) + 1)
    return result


def rounds(codes: array[int], shapes: array[int], children: Groups) -> tuple[dict[int, tuple[int, int]], array[int]]:
    """Find the loops whose passes split: by the node that each begins with, its (elements, passes).

    Where a pass splits, the next one hangs below one of its branches. The way that leads on is taken
    to be the child with most tokens below it: the second result has it for every node that has
    children. Two passes are the same when the elements along that way are, and the other branches.
    """
    size = len(codes)
    starts, items = children
    order = top_down(children, size)
    heirs, below, splits = array("i", [-1]) * size, array("i", [1]) * size, False
    for node in reversed(order):
        for position in range(starts[node], starts[node + 1]):
            child = items[position]
            below[node] += below[child]
            if heirs[node] < 0 or below[child] > below[heirs[node]]:
                heirs[node] = child
        splits = splits or starts[node + 1] - starts[node] > 1

    found: dict[int, tuple[int, int]] = {}
    if not splits:
        return found, heirs
    known: dict[tuple[int, ...], int] = {}
    on_the_way = bytearray(size)
    for top in order:  # each node is on one way: that of the first node above it that is nobody's heir
        if on_the_way[top]:
            continue
        way, labels, at_splits = array("i"), array("i"), []
        node = top
        while node >= 0:
            on_the_way[node] = 1
            label = codes[node]
            if starts[node + 1] - starts[node] > 1:
                at_splits.append(len(way))
                others = (shapes[child] for child in children.of(node) if child != heirs[node])
                label = -1 - known.setdefault((label, *sorted(others)), len(known))
            way.append(node)
            labels.append(label)
            node = heirs[node]
        if len(at_splits) < 2:
            continue
        position = 0
        for steps, passes in loops(labels):
            if passes > 1 and any(position <= split < position + steps for split in at_splits):
                found[way[position]] = (steps, passes)
            position += steps * passes
    return found, heirs


def loops(codes: array[int]) -> Iterator[tuple[int, int]]:
    """Divide a sequence into runs: (elements, passes), with passes = 1 for what is not repeated.

    From left to right, the run that covers most is taken, the shorter loop where two cover as much.
    Two passes make a loop.
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
            # A multiple of the loop found so far, if it begins inside it, covers no more than it does.
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
