"""Fills the templates of a report, and forbids the browser everything that the page does not need.

Jinja escapes every text. The Content-Security-Policy (https://www.w3.org/TR/CSP3/) allows the style sheet and the
script of the page, by their hashes, and no request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tokctl.analysis.explain.explanation import VERDICTS
from tokctl.errors import UsageError
from tokctl.render.text import escape_control_lines
from tokctl.report.figures import DiagramEmbedding
from tokctl.report.instance import InstanceParts
from tokctl.report.overview import list_instances, list_performance
from tokctl.report.policy import hash_source, read_asset
from tokctl.report.texts import show_milliseconds, show_status, show_time, tell_omitted
from tokctl.services.report import InstanceReport, OverviewReport, Report, ReportDiagram
from tokctl.text import count
from tokctl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment


def load_templates() -> Environment:
    """Load the templates. Raises UsageError: Jinja2 is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UsageError(
            "a report needs Jinja2, which is not installed.", "Install it: pip install 'tokctl[report]'."
        ) from None
    environment = Environment(
        loader=PackageLoader("tokctl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_controls,
    )
    environment.filters |= {"time": show_time, "ms": show_milliseconds, "status": show_status}
    environment.globals |= {"count": count, "verdicts": VERDICTS}
    return environment


def _escape_controls(value: object) -> object:
    """Make characters visible that could reorder or hide text; what is markup already has none."""
    return escape_control_lines(value) if type(value) is str else value


class PreparedReport(NamedTuple):
    """What the pages of a report are made of: the name of a template, its values, and the code that it needs."""

    template: str
    values: dict[str, Any]
    style: str
    script: str


def render_report(report: Report, templates: Environment) -> str:
    """Return a report as HTML: a page with everything in it."""
    template, values, style, script = prepare_report(report)
    policy = (
        f"default-src 'none'; style-src {hash_source(style)}; script-src {hash_source(script)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return templates.get_template(f"{template}.html.jinja").render(
        values, style=style, script=script, policy=policy, version=__version__
    )


def prepare_report(report: Report) -> PreparedReport:
    """Return what a page of a report is made of."""
    embedding = DiagramEmbedding()
    if isinstance(report.body, InstanceReport):
        name, title, parts = _prepare_instance(report.body, embedding)
    else:
        name, title, parts = _prepare_overview(report.body, embedding)
    style = read_asset(__package__, "report.css") + embedding.style_sheet()
    script = read_asset(__package__, "report.js")
    return PreparedReport(name, parts | {"report": report, "body": report.body, "title": title}, style, script)


def _prepare_instance(body: InstanceReport, embedding: DiagramEmbedding) -> tuple[str, str, dict[str, Any]]:
    parts = InstanceParts(body)
    rows, notes = parts.time_line()
    return (
        "instance",
        f"Instance {body.status.instance.instance_id}",
        {
            "diagrams": [_embed(body.diagram, embedding, parts.targets)],
            "elements": parts.elements(),
            "targets": parts.targets,
            "omitted_explanations": tell_omitted(body.explanations, len(parts.flow.live), "live token"),
            "time_rows": rows,
            "time_notes": notes,
            "tree": parts.tree(),
            "performance": list_performance(body.performance.groups),
            "unknown": parts.unknown(),
        },
    )


def _prepare_overview(body: OverviewReport, embedding: DiagramEmbedding) -> tuple[str, str, dict[str, Any]]:
    rows = list_performance(body.performance.groups)
    unordered = f"{count(body.unordered, 'instance')} without a known order of elements not counted as a variant."
    derived = sum(status.status_derived for status in body.statuses)
    return (
        "overview",
        count(len(body.statuses), "instance"),
        {
            "diagrams": [
                _embed(one, embedding, {row.element_id: row.target for row in rows if row.process == one.process_id})
                for one in body.diagrams
            ],
            "instances": list_instances(body),
            "performance": rows,
            "unknown": [unordered] * bool(body.unordered)
            + [f"The status of {count(derived, 'instance')} is derived from tokens (~)."] * bool(derived),
        },
    )


def _embed(diagram: ReportDiagram, embedding: DiagramEmbedding, targets: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template shows of a diagram; its ``svg`` is markup."""
    drawn = diagram.drawn
    return {
        "process": diagram.process_id or "?",
        "problem": diagram.problem,
        "svg": "" if drawn is None else embedding.embed(drawn.drawing, targets),
        "notes": () if drawn is None else drawn.notes,
    }
