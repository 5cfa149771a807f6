"""BROKEN_LINKS."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from operator import lt

from tokctl.process.forest import PARENT_MISSING, PARENT_UNNAMED, Anomaly, TreeRow
from tokctl.process.rules.base import LOW, Case, Hit, Rule
from tokctl.process.tree import build, waits_for_several


class BrokenLinks(Rule):
    """What tokens say of their parents and children contradicts itself; cycles too.

    A missing parent is ORPHANED_TOKENS. Where no token lists a child, or none names a parent, the source
    does not send that: it is no contradiction.
    """

    name = "BROKEN_LINKS"
    severity = LOW
    meaning = "What tokens say of their parents and children contradicts itself."
    next = "tokctl tokens tree {instance}"
    reads_all = True
    reads_flows = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Build the tree, unless a quick look shows that nothing is wrong."""
        lists = any(visit.child_tokens for visit in case.visits)
        if (not lists or _agree(case)) and not _has_cycle(case.parents):
            return
        rows = (TreeRow.from_token(visit) for visit in case.visits)
        if not lists:
            rows = (_without_children(row) for row in rows)
        found: dict[str, list[Anomaly]] = {}
        for anomaly in build(rows, max_examples=sys.maxsize).anomalies.examples:
            if anomaly.kind not in {PARENT_MISSING, PARENT_UNNAMED}:  # those have a rule, or are none
                found.setdefault(anomaly.token_id, []).append(anomaly)
        for token_id, several in found.items():
            visit = case.visits[case.positions[token_id]]
            kinds = [{"kind": one.kind, "other_token_id": one.other_id} for one in several]
            says = "; ".join(dict.fromkeys(one.message.removeprefix(f"{token_id} ") for one in several))
            yield Hit(visit, says, visit.created_at, float(visit.live), {"anomalies": kinds})


def _has_cycle(parents: Sequence[int]) -> bool:
    if all(map(lt, parents, range(len(parents)))):
        return False  # every parent stands before its children
    seen = bytearray(len(parents))  # 1: on the way up that is being gone, 2: leads to a root
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


def _agree(case: Case) -> bool:
    """Tell whether every list of children is what the parents say, joins allowed for."""
    confirmed = 0
    parents, positions, visits = case.parents, case.positions, case.visits
    for position, visit in enumerate(visits):
        children = visit.child_tokens
        if children is None:
            return False
        if not children:
            continue
        if len(children) > 1 and len(set(children)) != len(children):
            return False
        for child in children:
            at = positions.get(child)
            if at is None or at == position:
                return False
            if parents[at] == position:
                confirmed += 1
            elif not waits_for_several(visits[at].element_type) and not waits_for_several(visit.element_type):
                return False
    return confirmed == sum(parent >= 0 for parent in parents)


def _without_children(row: TreeRow) -> TreeRow:
    return TreeRow(row.token_id, row.element_id, row.state, row.parent_token_id, None, row.element_type)
