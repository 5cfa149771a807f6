"""Runs the debug rules over an engine: what ``debug`` shows and ``tokens wait --for finding=…`` waits for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any

from msgspec import Struct

from tokctl.config import config_section
from tokctl.errors import InputError, UsageError
from tokctl.process.debug import Report, debug, read_thresholds
from tokctl.process.engine import Engine
from tokctl.process.model import Definition
from tokctl.process.query import EVERYTHING, InstanceFilter, TokenFilter, suggest
from tokctl.process.rules import RULES, load
from tokctl.process.rules.base import SEVERITIES, Case, Hit, Rule
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Visit

ENTRY_POINTS = "tokctl.rules"
_NAME = re.compile("[A-Z][A-Z0-9_]*")


class Question(Struct, frozen=True, kw_only=True):
    """What to look for: which rules, with which thresholds, from which severity on; which tokens.

    Without ``rules`` it is all of them. ``configured`` are the thresholds of the configuration; None reads them
    from its section ``debug``. ``since`` leaves out what began before then; ``ended`` looks at
    instances that have ended, too, where no single one is asked about.
    """

    rules: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    severity: str = SEVERITIES[0]
    thresholds: dict[str, Any] = {}
    configured: Mapping[str, Any] | None = None
    elements: tuple[str, ...] = ()
    since: datetime | None = None
    ended: bool = False


def all_rules() -> dict[str, type[Rule]]:
    """Every rule by name: ours, and those that other packages bring (entry point group ``tokctl.rules``).

    Raises:
        InputError: a package's rule cannot be loaded, or is none.
    """
    from importlib.metadata import entry_points

    rules = {name: load(name) for name in RULES}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            rule = point.load()
        except Exception as error:  # noqa: BLE001 - it may be anything
            raise InputError(f"the debug rule {point.value} cannot be loaded: {type(error).__name__}: {error}.",
                             "Mend or remove the package that brings it.") from None  # fmt: skip
        if not (isinstance(rule, type) and issubclass(rule, Rule) and hasattr(rule, "name")):
            raise InputError(
                f"the debug rule {point.value} is no subclass of tokctl.process.rules.base.Rule with a name."
            )
        if not (isinstance(rule.name, str) and _NAME.fullmatch(rule.name)):
            raise InputError(f"the debug rule {point.value} has the name {rule.name!r}.",
                             "A name is of capital letters, digits and underscores.")  # fmt: skip
        if getattr(rule, "severity", None) not in SEVERITIES or not getattr(rule, "meaning", None):
            raise InputError(f"the debug rule {point.value} lacks a severity or a meaning.",
                             f"Severities: {', '.join(SEVERITIES)}.")  # fmt: skip
        if rule.find is Rule.find and rule.conclude is Rule.conclude:
            raise InputError(f"the debug rule {point.value} looks at nothing: it defines neither find nor conclude.")
        rules[rule.name] = rule
    return rules


def thresholds(
    rules: Mapping[str, type[Rule]], given: Mapping[str, Any], configured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The thresholds: from the command line, else from the configuration (section ``debug``), else the usual ones."""
    if configured is None:
        configured = config_section("debug", os.environ)
    try:
        values = read_thresholds(rules.values(), configured)
    except UsageError as error:
        raise UsageError(f"in the configuration, section debug: {error.message}", error.hint) from None
    return values | {name: value for name, value in read_thresholds(rules.values(), given).items() if name in given}


def chosen(rules: Mapping[str, type[Rule]], question: Question) -> set[str]:
    """The names of the rules that a question asks for.

    Raises:
        UsageError: no rule has such a name, or none is left to look with.
    """
    for name in (*question.rules, *question.skip):
        if name not in rules:
            raise UsageError(f"there is no rule '{name}'{suggest(name, rules)}.", "See 'tokctl debug --list-rules'.")
    least = SEVERITIES.index(question.severity)
    left = {
        name
        for name, rule in rules.items()
        if (name in question.rules or not question.rules)
        and name not in question.skip
        and SEVERITIES.index(rule.severity) >= least
    }
    if not left:
        raise UsageError("--rule, --skip and --severity leave no rule to look with.",
                         "See 'tokctl debug --list-rules'.")  # fmt: skip
    return left


def examine(
    engine: Engine,
    instance_id: str | None,
    now: datetime,
    question: Question = Question(),  # noqa: B008 - it is frozen
    *,
    limit: int | None = None,
    prefix: str = "tokctl",
) -> Report:
    """Look for trouble in an instance, or in all that have not come to their end.

    ``limit`` is how many tokens of each finding to tell of, ``prefix`` how a command begins that looks at
    the same engine.
    """
    known = all_rules()
    limits = thresholds(known, question.thresholds, question.configured)
    shown = chosen(known, question)
    builds_on_others = any(known[name].reads_stuck for name in shown)
    run = [
        rule(limits)
        for name, rule in known.items()
        if name in shown or (builds_on_others and rule.stuck and name not in question.skip)
    ]
    return debug(
        _cases(engine, instance_id, now, run, question),
        run,
        shown=lambda rule: rule.name in shown,
        wanted=_wanted(question.since),
        told=_told(question.elements),
        limit=limit,
        prefix=prefix,
    )


COMPARED = 1000
"""Instances of a process, the last ones, whose finished visits say what is usual."""


def _wanted(since: datetime | None) -> Callable[[Hit], bool] | None:
    return None if since is None else lambda hit: hit.since is not None and hit.since >= since


def _told(elements: Collection[str]) -> Callable[[Hit], bool] | None:
    def told(hit: Hit) -> bool:
        visit = hit.visit
        return any(fnmatchcase(visit.element_id, e) or fnmatchcase(visit.name, e) for e in elements)

    return told if elements else None


def _cases(
    engine: Engine, instance_id: str | None, now: datetime, rules: Collection[Rule], question: Question
) -> Iterator[Case]:
    where = EVERYTHING if any(rule.reads_all for rule in rules) else TokenFilter(live=True)
    flows = any(rule.reads_flows for rule in rules)

    @cache
    def definition(process_id: str | None, version: int | None) -> Definition | None:
        return engine.definition(process_id, version) if process_id is not None else None

    @cache
    def alone() -> bool:
        return len(engine.instance_ids("", 2)) < 2

    def durations(process_id: str | None, elements: Iterable[str]) -> Iterator[tuple[str, str, float]]:
        if alone():  # there is nothing to compare with
            return iter(())
        return engine.visit_durations(process_id, list(elements) if instance_id is not None else None, COMPARED)

    def case(status: InstanceStatus, visits: Iterator[Visit]) -> Case:
        instance = status.instance
        model = partial(definition, instance.process_id, instance.version)
        return Case(status, list(visits), now, model, durations)

    if instance_id is not None:
        yield case(engine.instance(instance_id), engine.visits(instance_id, where, flows=flows))
        return
    for status, visits in engine.all_visits(InstanceFilter(open=not question.ended), where, flows=flows):
        yield case(status, visits)
