"""``tokctl debug``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from math import ceil
from shlex import quote
from typing import Annotated

from msgspec.structs import replace

from tokctl.analysis.debug.grouping import group_trouble
from tokctl.analysis.debug.rules.base import LOW, SEVERITIES
from tokctl.analysis.debug.runner import DebugLimits, DebugReport, TroubledInstance, parse_severity
from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.completion import complete_rule, complete_severity
from tokctl.cli.filters import check_patterns, words
from tokctl.cli.progress import report_unread
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import Engine
from tokctl.errors import UsageError
from tokctl.model.filters import InstanceFilter
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.render.formats.layout import COLUMN_GAP, cell_width
from tokctl.render.result import Cell, Listing
from tokctl.render.text import count
from tokctl.render.views.debug import (
    cause_lines,
    group_listing,
    left_out_lines,
    report_listing,
    rule_listing,
    trouble_listing,
)
from tokctl.render.views.tokens import headline
from tokctl.services.debug import DebugQuery, load_rules, resolve_thresholds, run_debug, select_rules
from tokctl.text import suggest

DEFAULT_TOKENS_SHOWN = 10
"""Default number of tokens of each finding in a table."""
DEFAULT_ROWS_SHOWN = 15
"""Default number of rows in a table of instances, or of the tokens of a single one."""
LINES_AROUND_ROWS = 12
"""Terminal lines above and below these rows, and for the next prompt."""
LINES_BELOW = 3
"""Of these, lines that tell what is not shown, and the common causes."""
SOURCE_WIDTH = 30
"""Usual cells of the first line for the source and the time, in front of the headline."""
LINES_OF_EVIDENCE = 6
"""Of a single instance: further lines below the rows."""
TOKENS_SHOWN_PER_INSTANCE = 3
"""Of each of several instances."""
FORMATS_WITHOUT_NOTES = frozenset({"csv", "ndjson", "id"})
GROUPINGS = ("instance", "finding", "element", "worker", "error")

_RULES = "Rules"


def _complete_grouping(incomplete: str) -> list[str]:
    return [name for name in GROUPINGS if name.startswith(incomplete.lower())]


def debug(
    app: App,
    instance: opt.Instance = None,
    rule: Annotated[
        list[str] | None,
        opt.option("RULE", "Only this rule (repeatable).", "-r --rule", panel=_RULES, complete=complete_rule),
    ] = None,
    skip: Annotated[
        list[str] | None,
        opt.option("RULE", "Skip this rule (repeatable).", panel=_RULES, complete=complete_rule),
    ] = None,
    severity: Annotated[
        str,
        opt.option(
            "SEVERITY",
            "Minimum severity: low, medium or high.",
            complete=complete_severity,
            panel=_RULES,
        ),
    ] = LOW.lower(),
    threshold: Annotated[
        list[str] | None,
        opt.option(
            "NAME=VALUE", "Set a threshold, such as long_running=30m (repeatable).", "-T --threshold", panel=_RULES
        ),
    ] = None,
    since: Annotated[
        str | None,
        opt.option(
            "TIME", "Only problems that started since this time (RFC 3339, or an age such as 1h).", panel=_RULES
        ),
    ] = None,
    element: opt.Elements = None,
    all_: Annotated[bool, opt.flag("--all", "Include instances that have ended.")] = False,
    by: Annotated[
        str | None,
        opt.option(
            "WHAT",
            "Group problems by instance, finding, element, worker or error (default: instance).",
            complete=_complete_grouping,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        opt.option(
            "N",
            "Maximum number of instances; of tokens with INSTANCE, or for each finding with --by finding. 0 for all.",
            "-n --limit",
            min=0,
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        opt.option(
            "SEVERITY", "Exit with code 1 if there are problems of this severity or higher.", complete=complete_severity
        ),
    ] = None,
    list_rules: Annotated[bool, opt.flag("--list-rules", "List the rules and their thresholds.")] = False,
) -> Listing:
    """Show which instances have problems and why: failed, stuck, overdue and inconsistent tokens, most severe first.

    Without INSTANCE, all instances that have not ended are checked. Set thresholds with --threshold or in the section
    debug of the configuration file.
    """
    known = load_rules()
    given = _parse_thresholds(threshold)
    query = DebugQuery(
        rules=_parse_rule_names(rule, "--rule", known),
        skip=_parse_rule_names(skip, "--skip", known),
        severity=parse_severity(severity),
        thresholds=given,
        configured=app.settings.debug,
        elements=check_patterns(element, "--element"),
        since=parse_time_or_age(since, app.now) if since is not None else None,
        ended=all_,
    )
    if list_rules:
        names = select_rules(known, query)
        return rule_listing(
            [rule for name, rule in known.items() if name in names],
            resolve_thresholds(known, given, app.settings.debug),
        )
    fail_severity = parse_severity(fail_on) if fail_on is not None else None
    by = _parse_grouping(app, by)
    engine = app.open_engine(Projection.VISITS_WITH_JOINS)
    ids = engine.instance_ids("", 2)  # from here on, the server's clock is known
    if since is not None:
        query = replace(query, since=parse_time_or_age(since, app.now))
    instance_id = resolve_instance(engine, instance) if instance is not None or len(ids) == 1 else None
    limits = _choose_limits(app, by, limit, several=instance_id is None)
    report = run_debug(engine, instance_id, app.now, query, limits=limits, prefix=_prefix(app))
    if app.time.note:
        report = replace(report, notes=(*report.notes, app.time.note))
    if app.out.format in FORMATS_WITHOUT_NOTES:
        for text in report.notes:
            if text != app.time.note:  # said already
                app.notify(text)
    unread = report_unread(app, engine)
    listing = _listing(app, engine, report, by, instance_id, fail_severity, limit=limit, everything=all_)
    listing.exit_code = listing.exit_code or unread
    return listing


def _prefix(app: App) -> str | None:
    """Return the beginning of a command that reads the same; None after a pipe, which can be read only once."""
    return None if app.reads_pipe else app.prefix


def _count_default_rows(app: App, *, several: bool) -> int:
    """Return the number of rows that fit on the screen of a terminal."""
    if not app.out.tty:
        return DEFAULT_ROWS_SHOWN
    room = shutil.get_terminal_size((80, 24)).lines - LINES_AROUND_ROWS - (0 if several else LINES_OF_EVIDENCE)
    return min(max(room, TOKENS_SHOWN_PER_INSTANCE), DEFAULT_ROWS_SHOWN)


def _choose_limits(app: App, by: str, limit: int | None, *, several: bool) -> DebugLimits:
    """Return the limits of the kept findings: others are only counted."""
    output = app.out.format
    is_table = output in {"table", "wide"}
    if output == "id" and by == "instance":
        return DebugLimits(matches=0, instances=limit or None, tokens_per_instance=1)
    if by == "instance":
        shown = _count_default_rows(app, several=several) if limit is None and is_table else limit or None
        if not several:
            return DebugLimits(matches=0, tokens_per_instance=shown)
        few = TOKENS_SHOWN_PER_INSTANCE if is_table and limit != 0 else None
        return DebugLimits(matches=0, instances=shown, tokens_per_instance=few)
    if by == "finding":
        tokens = DEFAULT_TOKENS_SHOWN if limit is None and is_table else limit or None
        return DebugLimits(matches=tokens, instances=0)
    return DebugLimits(matches=0)


def _choose_shown(
    app: App, report: DebugReport, limit: int | None, headline: Callable[[], Sequence[Cell]], *, several: bool
) -> Sequence[TroubledInstance]:
    """Return the instances to show: in a table without a given limit, as many as fit into the default rows."""
    if limit is not None or app.out.format not in {"table", "wide"}:
        return report.worst
    below = (*left_out_lines(report, ()), *cause_lines(report)) if app.out.tty else ()
    lines = sum(ceil((sum(map(cell_width, line)) + COLUMN_GAP) / app.out.width) for line in below)
    lines += int(app.out.tty and sum(map(cell_width, headline())) + SOURCE_WIDTH > app.out.width)
    most = max(_count_default_rows(app, several=several) - max(lines - LINES_BELOW, 0), TOKENS_SHOWN_PER_INSTANCE)
    rows = accumulate(len(one.tokens) for one in report.worst)
    return [one for one, total in zip(report.worst, rows, strict=True) if total <= most]


def _parse_grouping(app: App, by: str | None) -> str:
    if by is None:
        return "instance" if app.out.format in {"table", "wide", "csv", "id"} else "finding"
    name = by.strip().lower()
    if name not in GROUPINGS:
        raise UsageError(f"invalid --by '{by}'{suggest(name, GROUPINGS)}.", f"Valid: {', '.join(GROUPINGS)}.")
    return name


def _listing(
    app: App,
    engine: Engine,
    report: DebugReport,
    by: str,
    instance_id: str | None,
    fail_on: str | None,
    *,
    limit: int | None,
    everything: bool,
) -> Listing:
    def show_headline() -> tuple[Cell, ...]:
        return _headline(app, engine, report, instance_id)

    def make_notes() -> list[str]:
        is_complete = instance_id is not None or everything
        said = [text for text in report.notes if text != app.time.note]
        return [*said, *([] if is_complete else _ended_instances_note(engine))]

    if by == "instance":

        def suggest_command(worst: TroubledInstance) -> str:
            shown = app.out.shorten_instance_id(worst.status.instance.instance_id)
            return f"{prefix} explain {'-- ' if shown.startswith('-') else ''}{quote(shown)}"

        listing = trouble_listing(
            report,
            _choose_shown(app, report, limit, show_headline, several=instance_id is None),
            app.out,
            headline=show_headline,
            notes=make_notes,
            next_command=suggest_command if (prefix := _prefix(app)) is not None else None,
            several=instance_id is None,
        )
        listing.exit_code = int(fail_on is not None and report.has_severity(fail_on))
        return listing
    if by == "finding":
        process_id = None if instance_id is None else engine.instance(instance_id).instance.process_id
        return report_listing(
            report,
            app.out,
            about={"instance_id": instance_id, "process_id": process_id},
            headline=show_headline,
            several=instance_id is None,
            fail_on=fail_on,
            notes=make_notes,
        )
    return group_listing(
        group_trouble(report.worst, by),
        by,
        app.out,
        headline=show_headline,
        exit_code=int(fail_on is not None and report.has_severity(fail_on)),
    )


def _headline(app: App, engine: Engine, report: DebugReport, instance_id: str | None) -> tuple[Cell, ...]:
    if instance_id is not None:
        status, summary = engine.instance(instance_id), engine.summary(instance_id)
        return headline(status, summary, app.out)
    ended = f", {report.ended_instances:,} ended" if report.ended_instances else ""
    running = f"{count(report.instances - report.ended_instances, 'instance')} running{ended}"
    problems = f"  {report.troubled_instances:,} with problems"
    severities = ", ".join(
        f"{number:,} {name.lower()}" for name in reversed(SEVERITIES) if (number := report.severities.get(name))
    )
    return (
        Cell(running),
        Cell(problems if report.findings else "", "yellow"),
        Cell(f"  {severities}" if severities else "", "yellow"),
    )


def _ended_instances_note(engine: Engine) -> list[str]:
    """Return a note on the instances that were left out because they have ended."""
    ended = engine.count_instances(InstanceFilter()) - engine.count_instances(InstanceFilter(open=True))
    if ended <= 0:
        return []
    return [
        f"{count(ended, 'ended instance is', 'ended instances are')} not checked. Use --all to check all instances."
    ]


def _parse_rule_names(values: list[str] | None, option: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the names of rules; those that end in ``_TOKENS`` may be given without it."""
    names = [word.strip().upper().replace("-", "_") for word in words(values, option)]
    return tuple(f"{name}_TOKENS" if name not in known and suggest(f"{name}_TOKENS", known) else name for name in names)


def _parse_thresholds(values: list[str] | None) -> dict[str, str]:
    given = {}
    for text in values or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"invalid --threshold '{text}'.", "Use NAME=VALUE, such as long_running=30m.")
        given[name.strip().lower().replace("-", "_")] = value.strip()
    return given


app = command(
    debug,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    panel=INSPECT_PANEL,
    examples=(
        "tokctl debug",
        "tokctl debug srv1-aB3 --since 1h",
        "tokctl debug --severity high --fail-on high -o junit > findings.xml",
        "tokctl debug -r LONG_RUNNING_TOKENS -T long_running=2h -T retries=5",
        "curl $URL | tokctl debug --file -",
    ),
)
