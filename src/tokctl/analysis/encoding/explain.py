"""The JSON document of an explanation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tokctl.analysis.explain.explanation import VERDICTS, ChainStep, Explanation
from tokctl.analysis.joins import WaitingJoin
from tokctl.documents.base import build_document
from tokctl.documents.explain import (
    ArrivedFlow,
    ChainStepDocument,
    ExplanationDocument,
    JoinDocument,
    MissingFlowDocument,
)
from tokctl.model.times import format_time
from tokctl.model.visits import Visit


def encode_explanation(found: Explanation, now: datetime) -> ExplanationDocument:
    """Return an explanation; a live token waits until ``now``."""
    waited = None if found.since is None or not found.token.live else now - found.since
    return build_document(
        ExplanationDocument,
        found,
        instance_id=found.token.instance_id,
        **_token_fields(found.token),
        meaning=VERDICTS[found.verdict],
        waited_ms=None if waited is None else round(waited.total_seconds() * 1000),
        sentences=list(found.sentences),
        join=None if found.join is None else _encode_join(found.join),
        blocker=encode_chain_step(found.blockers[0]) if found.blockers else None,
        blockers=[step.token.token_id for step in found.blockers],
        chain=[encode_chain_step(step) for step in found.chain],
        chain_left_out=found.more,
        evidence=list(found.evidence),
        next=list(found.next),
    )


def encode_chain_step(step: ChainStep) -> ChainStepDocument:
    """Return a step of the chain of dependencies."""
    return build_document(ChainStepDocument, step, **_token_fields(step.token), says=step.summary)


def _token_fields(visit: Visit) -> dict[str, Any]:
    names = ("token_id", "element_id", "element_type", "element_name", "state")
    return {name: getattr(visit, name) for name in names} | {"created_at": format_time(visit.created_at)}


def _encode_join(join: WaitingJoin) -> JoinDocument:
    needed = join.needed
    return build_document(
        JoinDocument,
        join,
        element_id=join.element.id,
        element_type=join.element.type,
        tokens=[visit.token_id for visit in join.tokens],
        arrived=[
            ArrivedFlow(flow=one.flow, token_id=one.token.token_id, since=format_time(one.token.created_at))
            for one in join.arrived
        ],
        missing=[
            build_document(
                MissingFlowDocument,
                flow,
                from_element=flow.source,
                needed=flow in needed,
                upstream=[visit.token_id for visit in flow.upstream],
                failed=[visit.token_id for visit in flow.failed],
            )
            for flow in join.missing
        ],
    )
