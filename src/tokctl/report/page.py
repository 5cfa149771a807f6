"""Fills the templates of a report, and forbids the browser everything that the page does not need.

Jinja escapes every text. The Content-Security-Policy (https://www.w3.org/TR/CSP3/) allows the style sheet and the
script of the page, by their hashes, and no request.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.render.text import escape_control_lines
from tokctl.report.figures import DiagramEmbedding
from tokctl.report.instance import DETAIL_LIMITS, InstanceParts, PartLimits
from tokctl.report.overview import (
    VERDICT_TEXTS,
    list_changes,
    list_facts,
    list_instances,
    list_performance,
    list_variants,
    tell_overview,
    tell_unknown,
)
from tokctl.report.texts import show_process, show_status, show_time, split_times
from tokctl.services.report import InstanceReport, OverviewReport, Report, ReportBase, ReportDiagram
from tokctl.text import count
from tokctl.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment


class Site(Struct, frozen=True, kw_only=True):
    """The site that a page belongs to: its navigation as (text, address), and where the page of an instance is.

    ``form_action`` is what the policy allows forms to do, such as ``'self'``.
    """

    navigation: tuple[tuple[str, str], ...] = ()
    instance_address: Callable[[str], str]
    form_action: str = "'none'"


class RenderedPage(Struct, frozen=True):
    """A page, and the Content-Security-Policy that it has in a ``meta`` element, too."""

    html: str
    policy: str


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


def render_report(report: Report, templates: Environment, site: Site | None = None) -> RenderedPage:
    """Return a report as HTML: a file that needs no other, or a page of a site."""
    embedding = DiagramEmbedding()
    if isinstance(report.body, InstanceReport):
        name, title = "instance", f"Instance {report.body.status.instance.instance_id}"
        parts = prepare_instance(report.body, report.now, embedding)
    else:
        name, title = "overview", count(len(report.body.statuses), "instance")
        parts = _prepare_overview(report, report.body, embedding, site)
    return render_page(
        templates, f"{name}.html.jinja", {"report": report, "title": title} | parts, embedding=embedding, site=site
    )


def render_page(
    templates: Environment,
    name: str,
    content: Mapping[str, Any],
    *,
    embedding: DiagramEmbedding | None = None,
    site: Site | None = None,
) -> RenderedPage:
    """Fill a template that extends ``page.html.jinja``; ``content`` has its ``title``, and what it needs itself.

    ``embedding`` is that of the diagrams in the content.
    """
    style = _read("report.css") + (embedding.style_sheet() if embedding else "")
    script = _read("report.js")
    action = site.form_action if site else "'none'"
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        f"form-action {action}"
    )
    html = templates.get_template(name).render(
        content, style=style, script=script, policy=policy, version=__version__, site=site
    )
    return RenderedPage(html, policy)


def _read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _hash(code: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(code.encode()).digest()).decode()


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
    report: Report, body: OverviewReport, embedding: DiagramEmbedding, site: Site | None
) -> dict[str, Any]:
    places = {one.status.instance.instance_id: f"instance-{number}" for number, one in enumerate(body.details, 1)}

    def address(instance_id: str) -> str:
        if site is not None:
            return site.instance_address(instance_id)
        return f"#{places[instance_id]}" if instance_id in places else ""

    table = list_performance(body.performance.groups)
    targets = {(row.process, row.element_id): row.target for row in table.rows}
    instances, omitted = list_instances(body, address, report.now)
    return {
        "body": body,
        "summary": tell_overview(body),
        "diagrams": _embed_all(body, embedding, targets),
        "instances": instances,
        "omitted_instances": omitted,
        "variants": list_variants(body, report.base, address),
        "performance": table,
        "comparison": None if report.base is None else _prepare_comparison(report, body, report.base, embedding),
        "details": [
            prepare_instance(one, report.now, embedding, prefix=f"{place}-", limits=DETAIL_LIMITS) | {"place": place}
            for one, place in zip(body.details, places.values(), strict=True)
        ],
        "unknown": tell_unknown(body),
    }


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
