"""Runs the debug rules over an engine: for ``tokctl debug`` and for ``tokens wait --for finding=…``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.debug.rules import RULES, load
from tokctl.analysis.debug.rules.base import SEVERITIES, Rule, RuleContext, RuleMatch
from tokctl.analysis.debug.rules.slower_than_usual import SlowerThanUsual
from tokctl.analysis.debug.runner import DebugLimits, DebugReport, debug, parse_thresholds
from tokctl.bpmn.graph import ProcessGraph
from tokctl.engines.protocol import Engine
from tokctl.errors import InputError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, TokenFilter
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import FAILED
from tokctl.model.times import to_utc
from tokctl.model.visits import Visit
from tokctl.text import suggest

ENTRY_POINTS = "tokctl.rules"
_NAME = re.compile("[A-Z][A-Z0-9_]*")


class DebugQuery(Struct, frozen=True, kw_only=True):
    """Which rules to run, with which thresholds, and which matches to report.

    ``rules`` and ``skip`` hold names of rules; no ``rules`` means all. ``severity`` is the lowest to report.
    ``thresholds`` come from the caller, ``configured`` from the section ``debug`` of a configuration file; both map the
    name of a threshold to its value or its text. ``elements`` are glob patterns of element ids or names. ``since``
    leaves out matches that began before it. ``ended`` includes instances that have ended, unless a single instance is
    given.
    """

    rules: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    severity: str = SEVERITIES[0]
    thresholds: Mapping[str, Any] = {}
    configured: Mapping[str, Any] = {}
    elements: tuple[str, ...] = ()
    since: datetime | None = None
    ended: bool = False


def load_rules() -> dict[str, type[Rule]]:
    """Load every rule by name: the built-in ones, and those of other packages (entry point group ``tokctl.rules``).

    Raises:
        InputError: a package's rule cannot be loaded, or is not a rule.
    """
    from importlib.metadata import entry_points

    rules = {name: load(name) for name in RULES}
    for point in entry_points(group=ENTRY_POINTS):
        where = f"the debug rule {point.value}"
        try:
            rule = point.load()
        except Exception as error:  # noqa: BLE001 - it may be anything
            raise InputError(
                f"cannot load {where}: {type(error).__name__}: {error}.",
                "Fix or remove the package that provides it.",
            ) from None
        if not (isinstance(rule, type) and issubclass(rule, Rule) and hasattr(rule, "name")):
            raise InputError(f"{where} is not a named subclass of tokctl.analysis.debug.rules.base.Rule.")
        if not (isinstance(rule.name, str) and _NAME.fullmatch(rule.name)):
            hint = "Use capital letters, digits and underscores."
            raise InputError(f"{where} has an invalid name: {rule.name!r}.", hint)
        if getattr(rule, "severity", None) not in SEVERITIES or not getattr(rule, "meaning", None):
            raise InputError(f"{where} has no severity or no meaning.", f"Severities: {', '.join(SEVERITIES)}.")
        if rule.find is Rule.find and rule.finalize is Rule.finalize:
            raise InputError(f"{where} defines neither find nor finalize.")
        rules[rule.name] = rule
    return rules


def resolve_thresholds(
    rules: Mapping[str, type[Rule]], given: Mapping[str, Any], configured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the value of each threshold: the given one, else the configured one, else the rule's default.

    Raises:
        UsageError: no rule has such a threshold, or a value is invalid.
    """
    try:
        values = parse_thresholds(rules.values(), configured or {})
    except UsageError as error:
        raise UsageError(f"in the configuration, section debug: {error.message}", error.hint) from None
    return values | {name: value for name, value in parse_thresholds(rules.values(), given).items() if name in given}


def select_rules(rules: Mapping[str, type[Rule]], query: DebugQuery) -> set[str]:
    """Return the names of the rules that a query selects.

    Raises:
        UsageError: no rule has such a name, or no rule is left.
    """
    for name in (*query.rules, *query.skip):
        if name not in rules:
            near = suggest(name, rules) or suggest(name, [rule.removesuffix("_TOKENS") for rule in rules])
            raise UsageError(f"unknown rule '{name}'{near}.", "See 'tokctl debug --list-rules'.")
    least = SEVERITIES.index(query.severity)
    left = {
        name
        for name, rule in rules.items()
        if (name in query.rules or not query.rules)
        and name not in query.skip
        and SEVERITIES.index(rule.severity) >= least
    }
    if not left:
        raise UsageError("--rule, --skip and --severity exclude all rules.", "See 'tokctl debug --list-rules'.")
    return left


def run_debug(
    engine: Engine,
    instance_id: str | None,
    now: datetime,
    query: DebugQuery = DebugQuery(),  # noqa: B008 - it is frozen
    *,
    limits: DebugLimits = DebugLimits(),  # noqa: B008 - it is frozen
    prefix: str | None = "tokctl",
) -> DebugReport:
    """Run the rules of a query over one instance, or over all that have not ended (see ``DebugQuery.ended``).

    Ages are measured from ``now``. Findings suggest commands, which start with ``prefix``; none if it is None.

    Raises:
        UsageError: the query names an unknown rule or threshold, or selects no rule.
        NotFoundError: there is no such instance.
    """
    now = to_utc(now)  # like the times of the tokens: comparing times of different zones takes ten times as long
    known = load_rules()
    thresholds = resolve_thresholds(known, query.thresholds, query.configured)
    shown = select_rules(known, query)
    builds_on_others = any(known[name].uses_stuck_matches for name in shown)
    run = [
        rule(thresholds)
        for name, rule in known.items()
        if name in shown or (builds_on_others and rule.finds_stuck and name not in query.skip)
    ]
    report = debug(
        _read_contexts(engine, instance_id, now, run, query),
        run,
        is_shown=lambda rule: rule.name in shown,
        is_counted=_began_since(query.since),
        is_reported=_matches_elements(query.elements),
        limits=limits,
        prefix=prefix,
    )
    not_compared = [] if engine.compares_durations or SlowerThanUsual.name not in shown else [_NOT_COMPARED]
    found = {finding.type for finding in report.findings}
    of_rules = [note for rule in run if rule.name in found for note in rule.notes()]
    return replace(report, notes=(*of_rules, *engine.limitations, *not_compared))


_NOT_COMPARED = (
    f"{SlowerThanUsual.name} was not checked: the server needs a request for each earlier instance to compare with."
)
MAX_COMPARED_INSTANCES = 1000
"""How many instances of a process, the latest ones, supply the finished visits that a visit is compared with."""


def _began_since(since: datetime | None) -> Callable[[RuleMatch], bool] | None:
    """Return the condition on matches; an incident that began at an unknown time may have begun since then."""
    if since is None:
        return None
    return lambda hit: hit.visit.state == FAILED if hit.since is None else hit.since >= since


def _matches_elements(elements: tuple[str, ...]) -> Callable[[RuleMatch], bool] | None:
    if not elements:
        return None
    where = TokenFilter(elements=elements)
    return lambda hit: where.matches(hit.visit)


def _read_contexts(
    engine: Engine, instance_id: str | None, now: datetime, rules: Collection[Rule], query: DebugQuery
) -> Iterator[RuleContext]:
    where = ALL_TOKENS if any(rule.needs_finished for rule in rules) else TokenFilter(live=True)
    if all(rule.needs_failed_only for rule in rules):
        where = TokenFilter(live=True, states=(FAILED,))
    flows = any(rule.needs_flow_history for rule in rules)

    @cache
    def definition(process_id: str | None, version: int | None) -> Definition | None:
        return engine.definition(process_id, version) if process_id is not None else None

    @cache
    def graph(process_id: str | None, version: int | None) -> ProcessGraph:
        return ProcessGraph(definition(process_id, version))

    @cache
    def is_only_instance() -> bool:
        return len(engine.instance_ids("", 2)) < 2

    def durations(process_id: str | None, elements: Iterable[str]) -> Iterator[tuple[str, str, float]]:
        if not engine.compares_durations or is_only_instance():  # there is nothing to compare with
            return iter(())
        return engine.visit_durations(
            process_id, list(dict.fromkeys(elements)) if instance_id is not None else None, MAX_COMPARED_INSTANCES
        )

    def create_context(status: InstanceStatus, visits: Iterator[Visit]) -> RuleContext:
        instance = status.instance
        model = instance.process_id, instance.version
        return RuleContext(status, list(visits), now, partial(definition, *model), durations, partial(graph, *model))

    if instance_id is not None:
        yield create_context(engine.instance(instance_id), engine.visits(instance_id, where, flows=flows))
        return
    for status, visits in engine.suspect_visits(InstanceFilter(open=not query.ended), where, flows=flows):
        yield create_context(status, visits)
