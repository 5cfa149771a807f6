"""Rules on the links between tokens: ORPHANED_TOKENS, BROKEN_LINKS and LOOPING_TOKENS."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import lt
from typing import Any

from tokctl.analysis.debug.child_lists import MISSING_PARENT, NO_PARENT
from tokctl.analysis.debug.rules.base import (
    LOW,
    MEDIUM,
    Rule,
    RuleContext,
    RuleMatch,
    integer_threshold,
)
from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.forest import TreeRow
from tokctl.documents.tree import ContradictionExample
from tokctl.model.visits import Visit


class Orphaned(Rule):
    """A token names a parent that is not among the tokens of its instance."""

    name = "ORPHANED_TOKENS"
    severity = LOW
    meaning = "Tokens whose parent is not among the instance's tokens."
    next = "tokctl tokens tree {instance}"
    needs_finished = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the parents of all tokens."""
        parents = context.parents
        for position, parent in enumerate(parents) if MISSING_PARENT in parents else ():
            if parent == MISSING_PARENT:
                visit = context.visits[position]
                yield RuleMatch(visit, _describe_orphan, visit.created_at, float(visit.live), _get_parent)


def _describe_orphan(visit: Visit) -> str:
    return f"its parent {visit.parent_token_id} is missing"


def _get_parent(visit: Visit) -> dict[str, Any]:
    return {"parent_token_id": visit.parent_token_id}


MAX_EXAMPLES = 20
"""How many contradictions of a token are described one by one."""


class BrokenLinks(Rule):
    """The parents and children that tokens name contradict each other, or form a cycle.

    Missing parents are left to ORPHANED_TOKENS. If no token lists a child, or none names a parent, the source does not
    send these links, which is not a contradiction.
    """

    name = "BROKEN_LINKS"
    severity = LOW
    meaning = "Tokens with contradictory links to parents and children."
    next = "tokctl tokens tree {instance}"
    needs_finished = True
    needs_flow_history = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Build the tree, unless a quick check shows that all links match."""
        lists = any(visit.child_tokens for visit in context.visits)
        if (not lists or context.listed_parents is not None) and not _has_cycle(context.parents):
            return
        if lists:
            rows = (TreeRow.from_token(visit) for visit in context.visits)
        else:
            rows = (TreeRow(v.token_id, v.element_id, v.state, v.parent_token_id) for v in context.visits)
        found: dict[str, list[ContradictionExample]] = {}
        anomalies = build_forest(rows, max_examples=sys.maxsize, max_examples_of_token=MAX_EXAMPLES).anomalies
        for anomaly in anomalies.examples:
            if anomaly.kind not in {
                "PARENT_MISSING",
                "PARENT_UNNAMED",
            }:  # reported by another rule; not a contradiction
                found.setdefault(anomaly.token_id, []).append(anomaly)
        for token_id, several in found.items():
            visit = context.visits[context.positions[token_id]]
            kinds = [{"kind": one.kind, "other_token_id": one.other_id} for one in several]
            messages = dict.fromkeys(one.message.removeprefix(f"{token_id} ") for one in several)
            if more := anomalies.omitted[token_id]:
                messages[f"and {more:,} more"] = None
            message = "; ".join(messages)
            yield RuleMatch(visit, message, visit.created_at, float(visit.live), {"anomalies": kinds})


def _has_cycle(parents: Sequence[int]) -> bool:
    if all(map(lt, parents, range(len(parents)))):
        return False  # every parent comes before its children
    seen = bytearray(len(parents))  # 1: on the current path, 2: known to lead to a root
    for start in range(len(parents)):
        position, path = start, []
        while position >= 0 and not seen[position]:
            seen[position] = 1
            path.append(position)
            position = parents[position]
        if position >= 0 and seen[position] == 1:
            return True
        for member in path:
            seen[member] = 2
    return False


class Looping(Rule):
    """An element was entered again and again on one path: by a token and its ancestors.

    For each such element, the token with the most visits among its ancestors is reported. Two hundred children of one
    token are not a loop: they are on different paths.
    """

    name = "LOOPING_TOKENS"
    severity = MEDIUM
    meaning = "Elements entered too often on one path through the model."
    next = "tokctl tokens tree {instance}"
    thresholds = (integer_threshold("loops", 20, "entered more often than this", minimum=1),)
    needs_finished = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Count the visits on each path from the roots down."""
        limit: int = self.limits["loops"]
        if len(context.visits) <= limit:
            return
        elements = [visit.element_id for visit in context.visits]
        often = [element for element, number in Counter(elements).items() if number > limit]
        if not often:
            return
        for entered, position in _find_longest_loops(context, elements, often):
            if entered > limit:
                visit = context.visits[position]
                message = f"entered {entered:,} times on one path" + ("" if visit.live else ", but it has ended")
                yield RuleMatch(visit, message, visit.created_at, entered + visit.live / 2, {"entered": entered})


def _find_longest_loops(context: RuleContext, visited: list[str], elements: list[str]) -> list[tuple[int, int]]:
    """Return for each element the greatest number of visits on one path, and the index of the last of these visits.

    One depth-first walk from the roots, with a counter for each element: incremented on the way down, decremented on
    the way up.
    """
    codes = {element: code for code, element in enumerate(elements)}
    others = len(elements)
    element_of = list(map(codes.get, visited, repeat(others)))
    parents, (child, sibling) = context.parents, context.children
    counts, most, where = [0] * (others + 1), [0] * (others + 1), [0] * (others + 1)
    position, below = NO_PARENT, child[-1]
    for _ in parents:  # no need to go up again after the last token
        while below < 0 <= position:  # no child left: go up to the next sibling
            counts[element_of[position]] -= 1
            below = sibling[position]
            position = parents[position]
        if below < 0:  # the rest is in cycles
            break
        position = below
        element = element_of[position]
        count = counts[element] = counts[element] + 1
        if count > most[element]:
            most[element], where[element] = count, position
        below = child[position]
    return list(zip(most, where, strict=True))[:others]
