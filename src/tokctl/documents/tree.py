"""The tree of an instance's tokens as JSON: a list from top to bottom (``tokctl tokens tree``).

It is not nested: a loop would exceed the maximum depth of JSON parsers.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from tokctl.documents.base import Count, HopCertainty, Time
from tokctl.model.instances import Summary


class ContradictionsDocument(Struct, kw_only=True, frozen=True):
    """Contradictions in the links between tokens."""

    total: Count
    counts: dict[str, Count]


class ContradictionExample(Struct, frozen=True):
    """A contradiction: its kind, the token, the other token, and a sentence."""

    kind: str
    token_id: str
    other_id: str | None
    message: str


class ContradictionReport(ContradictionsDocument, kw_only=True, frozen=True):
    """Contradictions, with the first ones of each kind."""

    examples: list[ContradictionExample]


class TreeLineDocument(Struct, kw_only=True, frozen=True):
    """A line of the tree: a token, or ``hidden_tokens``, the number of tokens below the limit of depth.

    ``level`` counts indents, ``depth`` the tokens above. ``joins`` are further parents. ``context`` marks a token that
    does not match the filter but leads to one that does. ``certainty`` is ``reconstructed`` or ``ambiguous`` if the
    engine did not record how the token came to its element.
    """

    token_id: str | UnsetType = UNSET
    element_id: str | UnsetType = UNSET
    element_type: str | UnsetType | None = UNSET
    element_name: str | UnsetType | None = UNSET
    state: str | UnsetType = UNSET
    created_at: Time | UnsetType | None = UNSET
    finished_at: Time | UnsetType | None = UNSET
    duration_ms: float | UnsetType | None = UNSET
    duration_derived: bool | UnsetType = UNSET
    level: Count
    depth: Count
    hidden_tokens: Count | UnsetType = UNSET
    token_states: dict[str, Count] | UnsetType = UNSET
    parent_token_id: str | UnsetType | None = UNSET
    tree_parent_id: str | UnsetType | None = UNSET
    linked_by: str | UnsetType | None = UNSET
    certainty: HopCertainty | UnsetType = UNSET
    joins: tuple[str, ...] | UnsetType = UNSET
    contradictions: tuple[str, ...] | UnsetType = UNSET
    context: Literal[True] | UnsetType = UNSET


class TreeDocument(Struct, kw_only=True, frozen=True):
    """The tree of an instance's tokens. The summary covers the whole instance."""

    instance_id: str
    process_id: str | None
    tree: list[TreeLineDocument]
    contradictions: ContradictionReport
    summary: Summary
