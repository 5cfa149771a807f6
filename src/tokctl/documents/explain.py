"""Why a token waits, and on what, as JSON (``tokctl explain``)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tokctl.documents.base import Count, Time


class ChainStepDocument(Struct, kw_only=True, frozen=True):
    """A token in the chain of dependencies, ``depth`` steps from the explained token.

    ``can_continue`` is null if unknown. ``again``: the token already appears earlier in the chain.
    """

    depth: Count
    flow: str | None
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    created_at: Time | None
    verdict: str
    says: str
    can_continue: bool | None
    again: bool


class ArrivedFlow(Struct, kw_only=True, frozen=True):
    """A token that has arrived at a join, and the sequence flow that it took."""

    flow: str | None
    token_id: str
    since: Time | None


class MissingFlowDocument(Struct, kw_only=True, frozen=True):
    """An incoming flow of a join on which no token has arrived. ``possible``: whether one can still arrive."""

    flow: str
    from_element: str
    needed: bool
    possible: bool | None
    upstream: list[str]
    failed: list[str]


class JoinDocument(Struct, kw_only=True, frozen=True):
    """The join that a token waits at; ``unknown`` says what cannot be determined."""

    element_id: str
    element_type: str
    tokens: list[str]
    arrived: list[ArrivedFlow]
    missing: list[MissingFlowDocument]
    deadlocked: bool
    unknown: str | None


class EvidenceDocument(Struct, frozen=True):
    """A fact that supports an explanation. ``source`` is ``token``, ``context`` or ``model``."""

    name: str
    value: Any
    source: str


class ExplanationDocument(Struct, kw_only=True, frozen=True):
    """Why a token waits: the verdict, sentences, the join, the chain of dependencies, the evidence."""

    instance_id: str
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    created_at: Time | None
    verdict: str
    meaning: str
    since: Time | None
    waited_ms: int | None
    can_continue: bool | None
    sentences: list[str]
    join: JoinDocument | None
    blocker: ChainStepDocument | None
    blockers: list[str]
    chain: list[ChainStepDocument]
    chain_left_out: Count
    evidence: list[EvidenceDocument]
    next: list[str]


class ExplanationList(Struct, kw_only=True, frozen=True):
    """Why each live token of an instance waits: tokens that depend on no other token come first."""

    instance_id: str
    process_id: str | None
    explanations: list[ExplanationDocument]
