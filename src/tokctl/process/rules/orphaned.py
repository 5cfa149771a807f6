"""ORPHANED_TOKENS."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.process.rules.base import LOW, MISSING, Case, Hit, Rule


class Orphaned(Rule):
    """A token names a parent that is not there."""

    name = "ORPHANED_TOKENS"
    severity = LOW
    meaning = "Tokens name a parent that is not among the instance's tokens."
    next = "tokctl tokens tree {instance}"
    reads_all = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at every token's parent."""
        parents = case.parents
        if MISSING not in parents:
            return
        for position, parent in enumerate(parents):
            if parent == MISSING:
                visit = case.visits[position]
                yield Hit(visit, f"its parent {visit.parent_token_id} is missing", visit.created_at,
                          float(visit.live), {"parent_token_id": visit.parent_token_id})  # fmt: skip
