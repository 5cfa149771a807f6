"""Fills the templates of a report, and forbids the browser everything that the page does not need.

Jinja escapes every text. The Content-Security-Policy (https://www.w3.org/TR/CSP3/) allows the style sheet and the
script of the page, by their hashes, and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tokctl.errors import UsageError
from tokctl.render.text import escape_control_lines
from tokctl.report.figures import DiagramEmbedding
from tokctl.report.instance import DETAIL_LIMITS, InstanceParts, PartLimits
from tokctl.report.overview import (
    VERDICT_TEXTS,
    list_changes,
    list_facts,
    list_incidents,
    list_instances,
    list_performance,
    list_variants,
    tell_overview,
    tell_unknown,
)
from tokctl.report.policy import hash_source, read_asset
from tokctl.report.texts import show_process, show_status, show_time, split_times
from tokctl.services.report import InstanceReport, OverviewReport, Report, ReportBase, ReportDiagram
from tokctl.text import count
from tokctl.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment


MAX_DETAIL_DIAGRAMS = 400_000
"""Characters of the diagrams of instances in a page about several; the others have none."""
InstanceAddress = Callable[[str], str]
"""Where the page of an instance is, by its id."""


class PreparedReport(NamedTuple):
    """What the page of a report is made of: the name of a template, its values, and the code that it needs."""

    template: str
    values: dict[str, Any]
    style: str
    script: str


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
    environment.filters |= {"time": show_time, "times": split_times, "status": show_status, "process": show_process}
    environment.globals |= {"count": count, "verdict_texts": VERDICT_TEXTS}
    return environment


def _escape_controls(value: object) -> object:
    """Make characters visible that could reorder or hide text; what is markup already has none."""
    return escape_control_lines(value) if type(value) is str else value


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


def prepare_report(report: Report, address: InstanceAddress | None = None) -> PreparedReport:
    """Return what the page of a report is made of.

    ``address`` is for a site in which each instance has a page; without it, links lead to the details in this one.
    """
    embedding = DiagramEmbedding()
    if isinstance(report.body, InstanceReport):
        name, title = "instance", f"Instance {report.body.status.instance.instance_id}"
        parts = prepare_instance(report.body, report.now, embedding)
    else:
        name, title = "overview", count(len(report.body.statuses), "instance")
        parts = _prepare_overview(report, report.body, embedding, address)
    style = read_asset(__package__, "report.css") + embedding.style_sheet()
    return PreparedReport(name, parts | {"report": report, "title": title}, style, read_asset(__package__, "report.js"))


def prepare_instance(
    body: InstanceReport,
    now: datetime,
    embedding: DiagramEmbedding,
    *,
    prefix: str = "",
    limits: PartLimits | None = None,
) -> dict[str, Any]:
    """Return what the templates show of an instance. ``prefix`` keeps ids of several instances in a page apart."""
    parts = InstanceParts(body, now, prefix, limits)
    return {
        "body": body,
        "parts": parts,
        "diagram": _embed(body.diagram, embedding, parts.targets),
        "performance": None if body.performance is None else list_performance(body.performance.groups),
        "unknown": parts.unknown(),
    }


def _prepare_overview(
    report: Report, body: OverviewReport, embedding: DiagramEmbedding, address: InstanceAddress | None
) -> dict[str, Any]:
    places = {one.status.instance.instance_id: f"instance-{number}" for number, one in enumerate(body.details, 1)}

    def find_details(instance_id: str) -> str:
        return f"#{places[instance_id]}" if instance_id in places else ""

    address = address or find_details

    table = list_performance(body.performance.groups)
    targets = {(row.process, row.element_id): row.target for row in table.rows}
    instances, omitted_instances = list_instances(body, address, report.now)
    incidents, omitted_incidents = list_incidents(body, address)
    return {
        "body": body,
        "summary": tell_overview(body),
        "diagrams": _embed_all(body, embedding, targets),
        "instances": instances,
        "omitted_instances": omitted_instances,
        "incidents": incidents,
        "omitted_incidents": omitted_incidents,
        "variants": list_variants(body, report.base, address),
        "performance": table,
        "comparison": None if report.base is None else _prepare_comparison(report, body, report.base, embedding),
        "details": _prepare_details(report, body, embedding, places),
        "unknown": tell_unknown(body),
    }


def _prepare_details(
    report: Report, body: OverviewReport, embedding: DiagramEmbedding, places: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return what the templates show of each instance; the first ones have diagrams."""
    details, size = [], 0
    for one, place in zip(body.details, places.values(), strict=True):
        shown = prepare_instance(one, report.now, embedding, prefix=f"{place}-", limits=DETAIL_LIMITS)
        size += len(shown["diagram"]["svg"])
        if size > MAX_DETAIL_DIAGRAMS:
            shown["diagram"] |= {"svg": "", "problem": "left out of a report about several instances."}
        details.append(shown | {"place": place})
    return details


def _prepare_comparison(
    report: Report, body: OverviewReport, base: ReportBase, embedding: DiagramEmbedding
) -> dict[str, Any]:
    changes, ticks = list_changes(base)
    return {
        "name": base.name,
        "facts": list_facts(body, base.body, report.now),
        "changes": changes,
        "ticks": ticks,
        "diagrams": _embed_all(base.body, embedding, {}),
    }


def _embed_all(
    body: OverviewReport, embedding: DiagramEmbedding, targets: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Return the diagrams; ``targets`` are by process and element."""
    return [
        _embed(
            one,
            embedding,
            {element: target for (process, element), target in targets.items() if process == one.process_id},
        )
        for one in body.diagrams
    ]


def _embed(diagram: ReportDiagram, embedding: DiagramEmbedding, targets: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template shows of a diagram; its ``svg`` is markup."""
    drawn = diagram.drawn
    return {
        "process": diagram.process_id or "?",
        "problem": diagram.problem,
        "svg": "" if drawn is None else embedding.embed(drawn.drawing, targets),
        "notes": () if drawn is None else drawn.notes,
    }
