"""The reference pages name all that there is, with the program's own values."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace

from support.commandline import ENVIRONMENT
from support.documentation import fences
from support.paths import ROOT
from tokctl.analysis.debug.rules import RULES, load
from tokctl.config.keys import CONTEXT, LIMITS, SERVE, TOP
from tokctl.kinds import COMMAND_FORMATS, FORMATS
from tokctl.model.durations import format_timedelta

NOT_FOR_TOKCTL = {"COLUMNS", "LINES", "TERM", "PYTHONIOENCODING"}


def rows(page, heading):
    """The cells of the table rows below a heading."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"{heading}\n", 1)[1].split("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]


def names(page, heading):
    """The names in the first column of the table below a heading."""
    return {name for row in rows(page, heading) for name in re.findall(r"`([^`]+)`", row[0])}


def test_every_setting_is_documented():
    page = "configuration.md"
    assert names(page, "## Top-level settings") == {*TOP, "debug.NAME", "theme.NAME"}
    assert names(page, "## Settings of a context: `contexts.NAME`") == {*CONTEXT, "debug.NAME"}
    assert names(page, "## Settings of the server: `serve`") == set(SERVE)
    assert names(page, "## Limits of the server: `serve.limits`") == set(LIMITS)


def test_every_environment_variable_is_documented():
    assert names("configuration.md", "## Environment variables") == set(ENVIRONMENT) - NOT_FOR_TOKCTL


def test_every_format_is_documented():
    assert names("output.md", "## Formats") == {*FORMATS, *COMMAND_FORMATS}


def test_every_rule_is_documented_with_its_thresholds():
    documented = rows("rules.md", "# Debug rules")
    assert [row[0].strip("`") for row in documented] == [*RULES]
    for name, severity, _, *thresholds in documented:
        rule = load(name.strip("`"))
        assert severity == rule.severity
        defaults = re.findall(r"`(\w+)` \(([^)]*)\)", "".join(thresholds))
        assert defaults == [(threshold.name, format_default(threshold.default)) for threshold in rule.thresholds]


def test_the_example_of_a_rule_finds_what_it_says():
    example = next(fence for fence in fences(ROOT / "docs/rules.md") if fence.title == "my_package.py")
    names = {}
    exec(example.text, names)
    rule = names["ApprovalTriedTooOften"]({"approvals": 3})
    often, seldom = (
        SimpleNamespace(element_id="approve", created_at=None, context=SimpleNamespace(retries_used=n)) for n in (4, 3)
    )
    assert [match.visit for match in rule.find(SimpleNamespace(live=[often, seldom]))] == [often]


def format_default(value):
    if value == timedelta():
        return "0s"
    return format_timedelta(value) if isinstance(value, timedelta) else str(value)
