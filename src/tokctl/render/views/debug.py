"""What the debug rules found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from tokctl.process.debug import Finding, Report
from tokctl.process.model import format_time
from tokctl.process.rules.base import HIGH, LOW, MEDIUM, Hit
from tokctl.render.human import age_cell, count, state_cell, time_cell
from tokctl.render.result import Cell, Column, Document, Listing, Section

_SEVERITY = {HIGH: ("▲", "!!", "bold red"), MEDIUM: ("◆", "!", "yellow"), LOW: ("▪", "-", "cyan")}


def report_listing(
    report: Report,
    now: datetime,
    *,
    about: Document,
    headline: Callable[[], tuple[Cell, ...]],
    several: bool,
    unicode: bool,
    fail_on: str | None,
    notes: Callable[[], list[str]],
) -> Listing:
    """What was found, as a list of findings; for people, a section for each.

    ``about`` says in a document what was looked at; ``several`` whether that can be more than one instance.
    """
    columns = (
        Column(key="severity", title="SEVERITY", value=lambda f: f.severity,
               show=lambda f: severity_cell(f.severity, unicode=unicode)),
        Column(key="type", title="FINDING", value=lambda f: f.type),
        Column(key="count", title="TOKENS", value=lambda f: f.count, right=True),
        Column(key="instances", title="INSTANCES", value=lambda f: f.instances, right=True),
        Column(key="since", title="SINCE", value=lambda f: format_time(f.since),
               show=lambda f: age_cell(f.since, now), right=True),
        Column(key="message", title="WHAT", value=lambda f: f.message, fold=True, least=24),
        Column(key="also", title="ALSO", value=lambda f: f.also, show=lambda f: Cell(_also(f)), fold=True, rank=2),
        Column(key="next", title="NEXT", value=lambda f: f.next, fold=True, wide=True, rank=1),
    )  # fmt: skip

    def document(finding: Finding) -> Document:
        return _document(finding, report)

    def sections() -> Iterator[Section]:
        if not report.findings:
            yield Section(lines=[(Cell(f"Nothing found by {count(len(report.rules), 'rule')}.", "green"),)])
        for finding in report.findings:
            yield _section(finding, report, now, several=several, unicode=unicode)

    return Listing(
        key="issues",
        items=report.findings,
        columns=columns,
        ident=lambda finding: finding.type,
        document=document,
        head=about,
        tail=lambda: {"summary": summary_document(report)},
        headline=headline,
        notes=lambda _: notes(),
        exit_code=int(fail_on is not None and report.reaches(fail_on)),
        sections=sections,
        texts={"junit": lambda: _junit(report, fail_on or LOW)},
    )


def _junit(report: Report, fail_on: str) -> Iterator[str]:
    from tokctl.render.views.junit import junit  # the XML library takes 20 ms to import

    return junit(report, fail_on)


def severity_cell(severity: str, *, unicode: bool) -> Cell:
    """A severity by sign, word and colour."""
    sign, ascii_sign, style = _SEVERITY[severity]
    return Cell(f"{sign if unicode else ascii_sign} {severity}", style)


def summary_document(report: Report) -> Document:
    """The documented summary, and what was looked at."""
    return {
        "totalIssues": len(report.findings),
        "severity": report.severity or LOW,
        "rules": list(report.rules),
        "instances": report.instances,
        "tokens": report.tokens,
        "live_tokens": report.live_tokens,
        "troubled_tokens": report.troubled_tokens,
        "troubled_instances": report.troubled_instances,
    }


def _document(finding: Finding, report: Report) -> Document:
    return {
        "type": finding.type,
        "severity": finding.severity,
        "count": finding.count,
        "tokens": [_hit_document(hit, finding, report) for hit in finding.hits],
        "instances": finding.instances,
        "since": format_time(finding.since),
        "message": finding.message,
        "also": finding.also,
        "next": finding.next,
    } | finding.evidence


def _hit_document(hit: Hit, finding: Finding, report: Report) -> Document:
    visit = hit.visit
    document: Document = {"id": visit.token_id, "element": visit.name}
    return document | {
        name: value
        for name, value in hit.figures.items()
        if name not in document
    } | {
        "instance_id": visit.instance_id,
        "element_id": visit.element_id,
        "element_type": visit.element_type,
        "state": visit.state,
        "worker_id": visit.context.worker_id,
        "since": format_time(hit.since),
        "says": hit.says,
        "also": _others(hit, finding, report),
    }  # fmt: skip


def _others(hit: Hit, finding: Finding, report: Report) -> list[str]:
    names = report.overlaps.get((hit.visit.instance_id, hit.visit.token_id), ())
    return [name for name in names if name != finding.type]


def _also(finding: Finding) -> str:
    """The other findings that tell of the same tokens."""
    return ", ".join(
        f"{'all' if number == finding.count else f'{number:,}'} {name}" for name, number in finding.also.items()
    )


def _section(finding: Finding, report: Report, now: datetime, *, several: bool, unicode: bool) -> Section:
    title = [severity_cell(finding.severity, unicode=unicode), Cell("  "), Cell(finding.type, "bold"), Cell("  ")]
    title.append(Cell(count(finding.count, "token")))
    if several:
        title.append(Cell(f" in {count(finding.instances, 'instance')}"))
    if finding.since is not None and finding.since <= now:
        title.append(Cell(f"  since {time_cell(finding.since, now).text}", "dim"))
    lines: list[tuple[Cell, ...]] = [(Cell(finding.meaning),)]
    lines += [_cause_line(cause) for cause in finding.evidence.get("causes", ())]
    if finding.also:
        lines.append((Cell("Also among: ", "dim"), Cell(_also(finding))))
    if finding.next:
        lines.append((Cell("Next: ", "dim"), Cell(finding.next)))
    left = finding.count - len(finding.hits)
    if left > 0:
        lines.append((Cell(f"The worst {len(finding.hits):,} of {finding.count:,}; --limit 0 shows all.", "dim"),))
    return Section(title=tuple(title), lines=lines, listing=_hits(finding, report, several=several, unicode=unicode))


def _cause_line(cause: dict[str, Any]) -> tuple[Cell, ...]:
    from tokctl.process.rules.common_cause import share, words

    return (Cell(words(cause), "bold"), Cell(f": {share(cause)}"))


def _hits(finding: Finding, report: Report, *, several: bool, unicode: bool) -> Listing | None:
    if not finding.hits:
        return None
    instance = Column(key="instance_id", title="INSTANCE", value=lambda h: h.visit.instance_id)
    columns = (
        Column(key="token_id", title="TOKEN", value=lambda h: h.visit.token_id),
        Column(key="element", title="ELEMENT", value=lambda h: h.visit.name, fold=True, rank=1),
        Column(key="state", title="STATE", value=lambda h: h.visit.state,
               show=lambda h: state_cell(h.visit.state, unicode=unicode), rank=4),
        Column(key="says", title="WHAT", value=lambda h: h.says, fold=True, least=20),
        Column(key="worker_id", title="WORKER", value=lambda h: h.visit.context.worker_id, fold=True, rank=3),
        Column(key="since", title="SINCE", value=lambda h: format_time(h.since),
               show=lambda h: time_cell(h.since) if h.since else Cell("?", "dim"), wide=True, rank=5),
    )  # fmt: skip
    return Listing(
        key="tokens",
        items=finding.hits,
        columns=((instance,) if several else ()) + columns,
        ident=lambda hit: hit.visit.token_id,
        document=lambda hit: _hit_document(hit, finding, report),
    )
