"""JSON documents of the lines of a tree and its contradictions."""

from __future__ import annotations

from msgspec import UNSET

from tokctl.analysis.tree.drawing import HiddenLine, TreeLine
from tokctl.analysis.tree.forest import Anomalies
from tokctl.documents.base import encode_certainty
from tokctl.documents.tree import ContradictionReport, ContradictionsDocument, TreeLineDocument
from tokctl.model.times import format_time, from_micros


def encode_tree_line(line: TreeLine | HiddenLine) -> TreeLineDocument:
    """Return the object of a line: a token, or the number of tokens below the depth limit."""
    if isinstance(line, HiddenLine):
        return TreeLineDocument(level=line.level, depth=line.depth, hidden_tokens=line.count, token_states=line.states)
    token = line.token
    took = token.duration
    return TreeLineDocument(  # no generic copy of fields, for speed
        token_id=token.token_id,
        element_id=token.element_id,
        element_type=token.element_type,
        element_name=token.element_name,
        state=token.state,
        parent_token_id=token.parent_token_id,
        created_at=format_time(from_micros(token.created_us)),
        finished_at=format_time(from_micros(token.finished_us)),
        duration_ms=None if took is None else took.ms,
        duration_derived=took is not None and took.derived,
        level=line.level,
        depth=line.depth,
        tree_parent_id=line.parent_id,
        linked_by=line.linked_by,
        certainty=encode_certainty(token.certainty),
        joins=line.joins,
        contradictions=line.anomalies,
        context=True if line.context else UNSET,
    )


def encode_contradictions(anomalies: Anomalies) -> ContradictionsDocument:
    """Return the number of contradictions of each kind."""
    return ContradictionsDocument(total=anomalies.total, counts=dict(anomalies.counts))


def encode_contradiction_report(anomalies: Anomalies) -> ContradictionReport:
    """Return the same with examples of each kind."""
    return ContradictionReport(total=anomalies.total, counts=dict(anomalies.counts), examples=anomalies.examples)
