"""``tokctl debug``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import SEE, App, command
from tokctl.cli.complete import complete_rule, complete_severity
from tokctl.cli.examine import Question, all_rules, chosen, examine, thresholds
from tokctl.cli.filters import patterns, words
from tokctl.cli.many import shown_progress, tell_unread
from tokctl.engines.base import Reading
from tokctl.engines.ids import resolve_instance
from tokctl.errors import UsageError
from tokctl.process.debug import check_severity
from tokctl.process.model import FAILED
from tokctl.process.query import InstanceFilter, parse_moment
from tokctl.process.rules.base import LOW
from tokctl.render.human import count
from tokctl.render.result import Cell, Listing
from tokctl.render.views.debug import report_listing
from tokctl.render.views.rules import rule_listing
from tokctl.render.views.tokens import headline

SHOWN = 10
"""Tokens of each finding in a table unless told otherwise."""

_RULES = "What to look for"


def debug(
    app: App,
    instance: opt.Instance = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "-r",
            "--rule",
            help="Only this rule; may be repeated.",
            metavar="RULE",
            rich_help_panel=_RULES,
            autocompletion=complete_rule,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave this rule out; may be repeated.",
            metavar="RULE",
            rich_help_panel=_RULES,
            autocompletion=complete_rule,
        ),
    ] = None,
    severity: Annotated[
        str,
        typer.Option(
            help="Only what is at least so severe: low, medium or high.",
            metavar="SEVERITY",
            autocompletion=complete_severity,
            rich_help_panel=_RULES,
        ),
    ] = LOW.lower(),
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "-T",
            "--threshold",
            metavar="NAME=VALUE",
            rich_help_panel=_RULES,
            help="Set a threshold, such as long_running=30m; may be repeated.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only trouble that began since then: a time, or a span such as 1h.",
            metavar="TIME",
            rich_help_panel=_RULES,
        ),
    ] = None,
    element: opt.Elements = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Without INSTANCE: look at instances that have ended, too.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--limit",
            min=0,
            metavar="N",
            show_default=False,
            help="At most so many tokens of each finding; 0 for all. Tables show 10 unless told.",
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            help="Exit with 1 if something at least so severe is found.",
            metavar="SEVERITY",
            autocompletion=complete_severity,
        ),
    ] = None,
    list_rules: Annotated[
        bool, typer.Option("--list-rules", help="Say what is looked for, and from which thresholds on.")
    ] = False,
) -> Listing:
    """Look for trouble: stuck, failed, late, lost and contradicting tokens, most severe first.

    Without INSTANCE, in all instances that have not come to their end, or the only one there is.
    Thresholds are set by --threshold, or in the section debug of the configuration file.
    """  # fmt: skip
    known = all_rules()
    given = _assignments(threshold)
    question = Question(
        rules=_names(rule, "--rule"),
        skip=_names(skip, "--skip"),
        severity=check_severity(severity),
        thresholds=given,
        configured=app.settings.debug,
        elements=patterns(element, "--element"),
        since=parse_moment(since, app.now) if since is not None else None,
        ended=all_,
    )
    if list_rules:
        names = chosen(known, question)
        return rule_listing(
            [rule for name, rule in known.items() if name in names],
            thresholds(known, given, app.settings.debug),
            unicode=app.out.unicode,
        )
    worst = check_severity(fail_on) if fail_on is not None else None
    if limit is None and app.out.format in {"table", "wide"}:
        limit = SHOWN
    engine = app.open_engine(Reading.VISITS_WITH_JOINS)
    ids = engine.instance_ids("", 2)
    instance_id = resolve_instance(engine, instance) if instance is not None or len(ids) == 1 else None
    with shown_progress(engine):
        report = examine(engine, instance_id, app.now, question, limit=limit or None, prefix=app.prefix)
    unread = tell_unread(app, engine)
    about: dict[str, str | None] = {"instance_id": instance_id, "process_id": None}
    if instance_id is not None:
        about["process_id"] = engine.instance(instance_id).instance.process_id

    def notes() -> list[str]:
        if instance_id is not None or all_:
            return []
        several = engine.count_instances
        ended = several(InstanceFilter()) - several(InstanceFilter(open=True))
        failed = several(InstanceFilter(statuses=(FAILED,))) - several(InstanceFilter(statuses=(FAILED,), open=True))
        among = f", {failed:,} of them FAILED" if failed else ""
        return [
            f"{count(ended, 'instance that has', 'instances that have')} ended left out{among}: --all for these, too."
        ] if ended else []  # fmt: skip

    def line() -> tuple[Cell, ...]:
        if instance_id is not None:
            status, summary = engine.instance(instance_id), engine.summary(instance_id)
            return headline(status, summary, app.now, unicode=app.out.unicode)
        trouble = f"  trouble with {count(report.troubled_tokens, 'token')} in {report.troubled_instances:,} of them"
        if not report.findings:
            trouble = ""
        return (
            Cell(f"{count(report.instances, 'instance')}{' under way' * (not all_)}", "bold"),
            Cell(f"  {count(report.tokens, 'token')}, {report.live_tokens:,} live"),
            Cell(trouble, "yellow"),
        )

    listing = report_listing(
        report, app.now, about=about, headline=line, several=instance_id is None, unicode=app.out.unicode,
        fail_on=worst, notes=notes,
    )  # fmt: skip
    listing.exit_code = listing.exit_code or unread
    return listing


def _names(values: list[str] | None, option: str) -> tuple[str, ...]:
    return tuple(word.strip().upper().replace("-", "_") for word in words(values, option))


def _assignments(values: list[str] | None) -> dict[str, str]:
    given = {}
    for text in values or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"'{text}' sets no threshold.", "Say NAME=VALUE, such as long_running=30m.")
        given[name.strip().lower().replace("-", "_")] = value.strip()
    return given


app = command(
    debug,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    panel=SEE,
    examples=(
        "tokctl debug",
        "tokctl debug srv1-aB3 --since 1h",
        "tokctl debug --severity high --fail-on high -o junit > findings.xml",
        "tokctl debug -r LONG_RUNNING_TOKENS -T long_running=2h -T retries=5",
        "curl $URL | tokctl debug --file -",
    ),
)
