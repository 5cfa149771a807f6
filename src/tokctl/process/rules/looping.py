"""LOOPING_TOKENS."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import repeat

from tokctl.process.rules.base import MEDIUM, NO_PARENT, Case, Hit, Rule, number


class Looping(Rule):
    """An element was entered again and again along one ancestry: from a token up over its parents.

    Of each such element the token with the most visits above it is told. A token that two hundred others
    come from is no loop: they stand beside each other.
    """

    name = "LOOPING_TOKENS"
    severity = MEDIUM
    meaning = "An element was entered again and again along one way through the model."
    next = "tokctl tokens tree {instance}"
    thresholds = (number("loops", 20, "entered more often than this", least=1),)
    reads_all = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Count along each way from the roots down."""
        limit: int = self.limits["loops"]
        if len(case.visits) <= limit:
            return
        elements = [visit.element_id for visit in case.visits]
        often = [element for element, number in Counter(elements).items() if number > limit]
        if not often:
            return
        for entered, position in _deepest(case.parents, elements, often):
            if entered > limit:
                visit = case.visits[position]
                says = f"entered {entered:,} times along one way" + ("" if visit.live else ", the last time over")
                yield Hit(visit, says, visit.created_at, entered + visit.live / 2, {"entered": entered})


def _deepest(parents: array[int], visited: list[str], elements: list[str]) -> list[tuple[int, int]]:
    """Return for each element how often it was entered along the way with most visits of it, and the last of these.

    One walk down from the roots, with a count for each element that goes up and down with it.
    """
    codes = {element: code for code, element in enumerate(elements)}
    others = len(elements)
    element_of = list(map(codes.get, visited, repeat(others)))
    size = len(parents)
    child = array("i", [NO_PARENT]) * (size + 1)  # the first of each; the roots' parent comes last
    sibling = array("i", [NO_PARENT]) * size
    for position in range(size - 1, -1, -1):
        parent = parents[position]
        if parent < 0:
            parent = size
        sibling[position] = child[parent]
        child[parent] = position
    counts, most, where = [0] * (others + 1), [0] * (others + 1), [0] * (others + 1)
    position, below = NO_PARENT, child[size]
    for _ in range(size):  # the last way need not be gone back
        while below < 0 <= position:  # nothing below: go on beside it, or beside what stands above
            counts[element_of[position]] -= 1
            below = sibling[position]
            position = parents[position]
        if below < 0:  # what is left goes round in rings
            break
        position = below
        element = element_of[position]
        count = counts[element] = counts[element] + 1
        if count > most[element]:
            most[element], where[element] = count, position
        below = child[position]
    return list(zip(most, where, strict=True))[:others]
