"""JSON documents of debug findings and debug rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import UNSET

from tokctl.analysis.debug.rules.base import LOW, Rule, RuleMatch
from tokctl.analysis.debug.runner import DebugFinding, DebugReport
from tokctl.documents.base import Document, build_document, members, with_extra
from tokctl.documents.debug import CauseDocument, DebugSummary, FindingDocument, FindingToken, RuleDocument
from tokctl.model.durations import format_timedelta
from tokctl.model.times import format_time

_PLACES = slice(2, FindingToken.__struct_fields__.index("instance_id"))
_EVIDENCE = dict(
    zip(FindingToken.__struct_encode_fields__[_PLACES], FindingToken.__struct_fields__[_PLACES], strict=True)
)
"""Members of a token that are evidence of a rule: name in JSON → field."""


def encode_finding(finding: DebugFinding, report: DebugReport) -> Document:
    """Return a finding with its shown tokens."""
    causes = finding.evidence.get("causes")
    causes = UNSET if causes is None else [CauseDocument(**one) for one in causes]
    document = build_document(FindingDocument, finding, tokens=[], causes=causes)
    more = {name: value for name, value in finding.evidence.items() if name != "causes"}
    tokens = [encode_match(hit, finding, report) for hit in finding.matches]
    return members(with_extra(document, more, after="next")) | {"tokens": tokens}


def encode_match(hit: RuleMatch, finding: DebugFinding, report: DebugReport) -> Document:
    """Return a token with a problem: the documented members, the rule's evidence, then its place."""
    visit = hit.visit
    facts = hit.facts
    evidence = {_EVIDENCE[name]: value for name, value in facts.items() if name in _EVIDENCE}
    also = report.overlaps.get((visit.instance_id, visit.token_id), ())
    document = FindingToken(
        id=visit.token_id,
        element=visit.name,
        **evidence,
        instance_id=visit.instance_id,
        element_id=visit.element_id,
        element_type=visit.element_type,
        state=visit.state,
        worker_id=visit.context.worker_id,
        since=format_time(hit.since),
        says=hit.text,
        also=[name for name in also if name != finding.type],
    )
    return with_extra(document, {n: v for n, v in facts.items() if n not in _EVIDENCE}, after="element")


def encode_debug_summary(report: DebugReport) -> DebugSummary:
    """Return the documented summary and the scope of the check."""
    return build_document(
        DebugSummary,
        report,
        total_issues=len(report.findings),
        severity=report.severity or LOW,
        rules=list(report.rules),
        notes=list(report.notes),
    )


def format_threshold(limit: timedelta | int) -> int | str:
    """Return a threshold as a number or a duration such as 10m."""
    return limit if isinstance(limit, int) else format_timedelta(limit) if limit else "0s"


def encode_rule(rule: type[Rule], limits: Mapping[str, Any]) -> RuleDocument:
    """Return a rule with its current thresholds."""
    return RuleDocument(
        type=rule.name,
        severity=rule.severity,
        meaning=rule.meaning,
        thresholds={threshold.name: format_threshold(limits[threshold.name]) for threshold in rule.thresholds},
        threshold_meanings={threshold.name: threshold.meaning for threshold in rule.thresholds},
    )
