"""Findings of the debug rules, and the rules themselves with their thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tokctl.analysis.debug.grouping import TroubleGroup
from tokctl.analysis.debug.rules.base import HIGH, LOW, MEDIUM, Rule
from tokctl.analysis.debug.runner import DebugFinding, DebugReport, TroubledInstance, TroubledToken
from tokctl.analysis.encoding.debug import encode_debug_summary, encode_finding, encode_rule, format_threshold
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Footer, Listing, Output, Section, table
from tokctl.render.text import age_cell, count, format_zoned_time, moment_cell, state_cell, time_cell
from tokctl.render.views.groups import group_columns
from tokctl.render.views.tokens import explain_command

TOKENS_WITH_EVIDENCE = 2
"""Of a single instance: the number of tokens with evidence below the table."""

_SEVERITY_STYLES = {HIGH: ("✗", "bold red"), MEDIUM: ("▲", "yellow"), LOW: ("▪", "cyan")}


def report_listing(
    report: DebugReport,
    out: Output,
    *,
    about: dict[str, Any],
    headline: Callable[[], tuple[Cell, ...]],
    several: bool,
    fail_on: str | None,
    notes: Callable[[], list[str]],
) -> Listing:
    """Return a list of findings; people see a section for each.

    ``about`` are the members of the document that name what was checked; ``several`` is whether that can be more than
    one instance.
    """
    columns = (
        Column("severity", "SEVERITY", show=lambda f: severity_cell(f.severity)),
        Column("type", "FINDING"),
        Column("count", "TOKENS", right=True),
        Column("instances", "INSTANCES", right=True),
        Column("since", "SINCE", lambda f: format_time(f.since), show=lambda f: age_cell(f.since, out.now), right=True),
        Column("message", "PROBLEM", fold=True, min_width=24),
        Column("also", "ALSO", show=lambda f: Cell(_format_overlaps(f)), fold=True, rank=2),
        Column("next", "NEXT", fold=True, wide=True, rank=1),
    )

    def sections() -> Iterator[Section]:
        if not report.findings:
            yield _no_problems_section(report)
        for finding in report.findings:
            yield _finding_section(finding, out, several=several)

    return Listing(
        key="issues",
        items=report.findings,
        columns=columns,
        ident=lambda finding: finding.type,
        document=lambda finding: encode_finding(finding, report),
        head=about,
        tail=lambda: {"summary": encode_debug_summary(report)},
        headline=headline,
        notes=lambda _: notes(),
        exit_code=int(fail_on is not None and report.has_severity(fail_on)),
        sections=sections,
        custom_formats={"junit": lambda: _junit(report, fail_on or LOW)},
    )


class TroubleRow(NamedTuple):
    """A token with a problem in the table of instances. Of an instance, only the first row names it."""

    instance: TroubledInstance
    token: TroubledToken
    is_first: bool


def trouble_listing(
    report: DebugReport,
    shown: Sequence[TroubledInstance],
    out: Output,
    *,
    headline: Callable[[], tuple[Cell, ...]],
    notes: Callable[[], list[str]],
    next_command: Callable[[TroubledInstance], str] | None,
    several: bool,
) -> Listing:
    """Return the tokens with problems of some instances of a report, the worst first.

    ``next_command`` returns the command that tells more about an instance, if there is one. ``several`` is whether
    more than one was checked; of a single one, a table shows the ids of its tokens.
    """
    rows = [TroubleRow(one, token, n == 0) for one in shown for n, token in enumerate(one.tokens)]
    columns = _trouble_columns(out, several=several)

    def sections() -> Iterator[Section]:
        if not report.findings:
            yield _no_problems_section(report)
            return
        if rows:
            yield Section(listing=table(rows, columns))
        lines = [*left_out_lines(report, shown), *cause_lines(report)]
        if shown and next_command is not None and not out.quiet:
            lines.append((Cell("Next: ", "dim"), Cell(next_command(shown[0]), whole=True)))
        if not several:
            evidence = [line for row in rows[:TOKENS_WITH_EVIDENCE] for line in _evidence_lines(row, out.now)]
            yield Section(title=(Cell("Evidence", "bold"),), lines=evidence)
        yield Section(lines=lines)

    return Listing(
        key="troubles",
        items=rows,
        columns=columns,
        ident=lambda row: row.token.match.visit.instance_id,
        document=lambda row: {column.key: column.value(row) for column in columns},
        headline=headline,
        notes=lambda _: notes(),
        sections=sections,
    )


def _no_problems_section(report: DebugReport) -> Section:
    checked = f"{count(len(report.rules), 'rule')}, {count(report.instances, 'instance')} checked"
    return Section(lines=[(Cell(f"No problems found ({checked}).", "green"),)])


def _trouble_columns(out: Output, *, several: bool) -> tuple[Column, ...]:
    cut = out.cuts
    whole = not out.tty or out.format not in {"table", "wide"}  # programs get the instance in each row

    def once(show: Callable[[TroubleRow], Cell]) -> Callable[[TroubleRow], Cell]:
        return lambda row: show(row) if row.is_first or whole else Cell("")

    def severity(row: TroubleRow) -> Cell:
        is_new = row.is_first or whole or row.token.severity != row.instance.severity
        return severity_cell(row.token.severity) if is_new else Cell("")

    return (
        Column(
            "severity",
            "SEVERITY",
            "token.severity",
            show=severity,
        ),
        Column(
            "instance_id",
            "INSTANCE",
            "token.match.visit.instance_id",
            show=once(lambda r: Cell(out.shorten_instance_id(r.token.match.visit.instance_id))),
            fold=cut,
            cut=cut,
            wide=not several,
        ),
        Column(
            "process_id",
            "PROCESS",
            "instance.status.instance.process_id",
            show=once(lambda r: Cell(r.instance.status.instance.process_id or "")),
            fold=True,
            wide=not several,
            rank=1,
        ),
        Column("status", "STATUS", "instance.status.status", wide=True, rank=4),
        Column("token_id", "TOKEN", "token.match.visit.token_id", wide=several, rank=3),
        Column("element", "WHERE", "token.match.visit.name", fold=True, cut=cut),
        Column("type", "FINDING", "token.finding", wide=True, rank=2),
        Column("problem", "PROBLEM", "token.match.text", fold=True, cut=cut, min_width=36),
        Column(
            "also",
            "ALSO",
            lambda r: " ".join(r.token.also),
            show=lambda r: Cell(_format_names(r.token.also), "dim"),
            fold=True,
            cut=cut,
            rank=3,
        ),
        Column(
            "since",
            "SINCE",
            lambda r: format_time(r.token.match.since),
            show=lambda r: age_cell(r.token.match.since, out.now),
            right=True,
        ),
        Column("worker_id", "WORKER", "token.match.visit.context.worker_id", fold=True, wide=True, rank=4),
        Column("error", "ERROR", "token.match.visit.context.error", wide=True, fold=True, rank=4),
    )


def _format_names(findings: Iterable[str]) -> str:
    """Return the names of findings as words: ``long running, timed out, failed call``."""
    return ", ".join(
        name.removesuffix("_TOKENS").replace("_CALLS", "_CALL").replace("_", " ").lower() for name in findings
    )


def _evidence_lines(row: TroubleRow, now: datetime) -> Iterator[tuple[Cell, ...]]:
    """Yield a token and what each rule found about it."""
    visit, since = row.token.match.visit, row.token.match.since
    facts = [visit.token_id, visit.state]
    facts += [f"worker {visit.context.worker_id}"] if visit.context.worker_id else []
    facts += [f"since {format_zoned_time(since, now)}"] if since is not None else []
    yield (Cell(visit.name), Cell(f"  {', '.join(facts)}", "dim"))
    for name, match in {row.token.finding: row.token.match, **row.token.also}.items():
        yield (Cell(f"  {name}  "), Cell(match.text))


def left_out_lines(report: DebugReport, shown: Sequence[TroubledInstance]) -> Iterator[tuple[Cell, ...]]:
    """Yield how many instances and tokens of them are not shown, and what is wrong with the instances."""
    among = Counter(one.tokens[0].finding for one in shown)
    left = {name: number - among[name] for name, number in report.worst_findings.items() if number > among[name]}
    if left:
        most_first = sorted(left.items(), key=lambda item: -item[1])
        kinds = ", ".join(f"{number:,} {_format_names([name])}" for name, number in most_first)
        text = f"… and {count(sum(left.values()), 'more instance')}: {kinds}."
        yield (Cell(text, "yellow"), Cell(" Use --by error, or --limit 0 to show all.", "dim"))
    tokens = sum(one.total - len(one.tokens) for one in shown)
    if tokens:
        yield (Cell(f"… and {count(tokens, 'more token')} in these instances. Use --limit 0 to show all.", "dim"),)


def cause_lines(report: DebugReport) -> Iterator[tuple[Cell, ...]]:
    """Yield what was found by comparing instances: common causes, and findings of rules of other packages."""
    from tokctl.analysis.debug.rules.common_cause import describe_cause, describe_share

    for finding in report.findings:
        causes = finding.evidence.get("causes", ())
        for cause in causes:
            yield (Cell("Common cause: ", "bold"), Cell(f"{describe_share(cause)} {describe_cause(cause)}"))
        if finding.type in report.across and not causes:
            yield (Cell(f"{finding.type}: ", "bold"), Cell(f"{finding.message} Use --by finding to list them."))


def group_listing(
    groups: Sequence[TroubleGroup],
    by: str,
    out: Output,
    *,
    headline: Callable[[], tuple[Cell, ...]],
    exit_code: int,
) -> Listing:
    """Return the groups of tokens with problems that share an element, a worker or an error."""
    columns = (
        Column("severity", "SEVERITY", show=lambda g: severity_cell(g.severity)),
        Column("tokens", "TOKENS", right=True),
        *group_columns(by, out),
    )
    return Listing(
        key="groups",
        items=groups,
        columns=columns,
        ident=lambda group: group.value or "",
        document=lambda group: {column.key: column.value(group) for column in columns},
        headline=headline,
        empty="No problems found.",
        footer=Footer(lambda group: explain_command(out.shorten_instance_id(group.instance_id), out)),
        exit_code=exit_code,
    )


def _junit(report: DebugReport, fail_on: str) -> Iterator[str]:
    from tokctl.render.formats.junit import junit  # the XML library takes 20 ms to import

    return junit(report, fail_on)


def severity_cell(severity: str) -> Cell:
    """Return a severity as sign, word and colour."""
    sign, style = _SEVERITY_STYLES[severity]
    return Cell(severity, style, sign=sign)


def _format_overlaps(finding: DebugFinding) -> str:
    """Return the other findings about the same tokens."""
    return ", ".join(
        f"{'all' if number == finding.count else f'{number:,}'} {name}" for name, number in finding.also.items()
    )


def _finding_section(finding: DebugFinding, out: Output, *, several: bool) -> Section:
    title = [severity_cell(finding.severity), Cell("  "), Cell(finding.type, "bold"), Cell("  ")]
    title.append(Cell(count(finding.count, "token")))
    if several:
        title.append(Cell(f" in {count(finding.instances, 'instance')}"))
    if finding.since is not None and finding.since <= out.now:
        title.append(Cell(f"  since {time_cell(finding.since, out.now).text}", "dim"))
    lines: list[tuple[Cell, ...]] = [(Cell(finding.meaning),)]
    lines += [_cause_line(cause) for cause in finding.evidence.get("causes", ())]
    if finding.also:
        lines.append((Cell("Also found by: ", "dim"), Cell(_format_overlaps(finding))))
    if finding.next:
        lines.append((Cell("Next: ", "dim"), Cell(finding.next, whole=True)))
    left = finding.count - len(finding.matches)
    if left > 0:
        lines.append(
            (Cell(f"The worst {len(finding.matches):,} of {finding.count:,}. Use --limit 0 to show all.", "dim"),)
        )
    return Section(title=tuple(title), lines=lines, listing=_match_table(finding, out, several=several))


def _cause_line(cause: dict[str, Any]) -> tuple[Cell, ...]:
    from tokctl.analysis.debug.rules.common_cause import describe_cause, describe_share

    return (Cell(describe_cause(cause), "bold"), Cell(f": {describe_share(cause)}"))


def _match_table(finding: DebugFinding, out: Output, *, several: bool) -> Listing | None:
    if not finding.matches:
        return None
    instance = Column(
        "instance_id",
        "INSTANCE",
        "visit.instance_id",
        form=lambda i: Cell(out.shorten_instance_id(i)),
        fold=out.cuts,
        cut=out.cuts,
    )
    columns = (
        Column("token_id", "TOKEN", "visit.token_id", form=lambda i: Cell(out.shorten_token_id(i))),
        Column("element", "ELEMENT", "visit.name", fold=True, rank=1),
        Column("state", "STATE", show=lambda h: state_cell(h.visit.state), rank=4),
        Column("says", "PROBLEM", "text", fold=True, cut=out.cuts, min_width=36),
        Column("worker_id", "WORKER", "visit.context.worker_id", fold=True, min_width=20, rank=3),
        Column(
            "since",
            "SINCE",
            show=lambda h: moment_cell(h.since, out.now),
            wide=True,
            rank=5,
        ),
    )
    return table(finding.matches, ((instance,) if several else ()) + columns)


def rule_listing(rules: Sequence[type[Rule]], limits: Mapping[str, Any]) -> Listing:
    """Return a list of the rules with their current thresholds."""

    def format_thresholds(rule: type[Rule]) -> str:
        return "; ".join(f"{t.name}={format_threshold(limits[t.name])}: {t.meaning}" for t in rule.thresholds)

    return Listing(
        key="rules",
        items=rules,
        columns=(
            Column("type", "RULE", "name"),
            Column("severity", "SEVERITY", show=lambda r: severity_cell(r.severity)),
            Column("meaning", "MEANING", fold=True, min_width=24),
            Column("thresholds", "THRESHOLDS", format_thresholds, fold=True, min_width=20),
        ),
        ident=lambda rule: rule.name,
        document=lambda rule: encode_rule(rule, limits),
    )
