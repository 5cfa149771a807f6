"""Runs the debug rules over instances and combines their matches into findings.

This is the documented ``debugTokenIssues`` with more rules (``tokctl.analysis.debug.rules``). The instances are read
in one pass; only the matches are kept.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from heapq import nsmallest
from itertools import groupby, permutations
from typing import Any

from msgspec import Struct

from tokctl.analysis.debug.rules.base import SEVERITIES, Rule, RuleContext, RuleMatch
from tokctl.errors import InputError, TokctlError, UsageError
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import FAILED, is_final
from tokctl.text import suggest


class DebugFinding(Struct, frozen=True, kw_only=True):
    """The result of a rule: ``count`` tokens in ``instances`` instances.

    ``matches`` are the worst of them, the worst first. ``since`` is when the oldest problem began, as far as known.
    ``also`` is the number of these tokens that other rules found, too, by rule.
    """

    type: str
    severity: str
    meaning: str
    count: int
    instances: int
    since: datetime | None
    matches: tuple[RuleMatch, ...]
    also: dict[str, int]
    message: str
    next: str
    evidence: dict[str, Any] = {}


class DebugLimits(Struct, frozen=True, kw_only=True):
    """Limits of the kept results, always the worst; None for all. Counts include everything.

    ``matches`` is the number of tokens kept of each finding, ``instances`` that of instances, and
    ``tokens_per_instance`` that of tokens kept of each of these.
    """

    matches: int | None = None
    instances: int | None = None
    tokens_per_instance: int | None = None


class TroubledToken(Struct, frozen=True):
    """A token under its worst finding; ``also`` are the other rules that found it, by name, with their matches."""

    match: RuleMatch
    finding: str
    severity: str
    also: Mapping[str, RuleMatch] = {}


class TroubledInstance(Struct, frozen=True):
    """An instance with a problem.

    ``tokens`` are the worst of its ``total`` tokens with problems: the most severe first, causes before consequences,
    then the oldest.
    """

    status: InstanceStatus
    tokens: tuple[TroubledToken, ...]
    total: int

    @property
    def severity(self) -> str:
        """The worst severity of its tokens."""
        return self.tokens[0].severity

    @property
    def since(self) -> datetime | None:
        """When its worst problem began; None if unknown."""
        return self.tokens[0].match.since


class DebugReport(Struct, frozen=True, kw_only=True):
    """All findings, the most severe first, and totals of what was checked.

    ``overlaps`` has the names of the rules for each (instance id, token id) that several rules found. ``worst`` are the
    worst instances: the most severe first, then those with FAILED tokens, then those with the oldest problem.
    ``across`` names the rules that found something by comparing instances; such matches are in ``worst`` for
    instances in which nothing else was found.
    ``ended_instances`` counts those that have ended, ``severities`` those with problems by their worst severity,
    ``worst_findings`` these by their worst finding. ``notes`` tell what was not checked, and clocks that differ.
    """

    findings: tuple[DebugFinding, ...]
    rules: tuple[str, ...]
    instances: int
    tokens: int
    live_tokens: int
    troubled_tokens: int
    troubled_instances: int
    overlaps: Mapping[tuple[str, str], tuple[str, ...]]
    across: frozenset[str] = frozenset()
    ended_instances: int = 0
    worst: tuple[TroubledInstance, ...] = ()
    severities: Mapping[str, int] = {}
    worst_findings: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()

    @property
    def severity(self) -> str | None:
        """The worst severity; None without findings."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default=None)

    def has_severity(self, severity: str) -> bool:
        """Tell whether there is a finding of this severity or worse."""
        worst = self.severity
        return worst is not None and SEVERITIES.index(worst) >= SEVERITIES.index(severity)


def parse_severity(text: str) -> str:
    """Return the name of a severity. Raises UsageError for an unknown one."""
    name = text.strip().upper()
    if name not in SEVERITIES:
        raise UsageError(f"unknown severity '{text}'{suggest(name, SEVERITIES)}.", f"Valid: {', '.join(SEVERITIES)}.")
    return name


def parse_thresholds(rules: Iterable[type[Rule]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every threshold of the rules by name: the given one, or the default.

    Raises:
        UsageError: a value is invalid, or no rule has a threshold of that name.
    """
    known = {threshold.name: threshold for rule in rules for threshold in rule.thresholds}
    for name in given:
        if name not in known:
            raise UsageError(
                f"unknown threshold '{name}'{suggest(name, known)}.", f"Valid: {', '.join(sorted(known))}."
            )
    values = {name: threshold.default for name, threshold in known.items()}
    return values | {name: known[name].parse(value) for name, value in given.items()}


def debug(
    contexts: Iterable[RuleContext],
    rules: Sequence[Rule],
    *,
    is_shown: Callable[[Rule], bool] = lambda _: True,
    is_counted: Callable[[RuleMatch], bool] | None = None,
    is_reported: Callable[[RuleMatch], bool] | None = None,
    limits: DebugLimits = DebugLimits(),  # noqa: B008 - it is frozen
    prefix: str | None = "tokctl",
) -> DebugReport:
    """Run rules over instances.

    Args:
        contexts: the instances; each is released before the next is read.
        rules: new rule objects; a rule object serves one run.
        is_shown: whether the findings of a rule are reported; other rules may use its matches nevertheless.
        is_counted: which matches count; None for all.
        is_reported: which of these are reported, None for all; rules that look for a common cause also use the others.
        limits: how much of what is found is kept.
        prefix: the beginning of a command line for the same instances; None if no other command can read them.

    Raises:
        InputError: a rule of another package raised an exception.
    """
    builders = {rule.name: _FindingBuilder(rule, _or_all(limits.matches)) for rule in rules}
    ranking = _InstanceRanking(rules, _or_all(limits.instances), _or_all(limits.tokens_per_instance))
    tokens_found = _FoundTokens(rules)
    uses_stuck = any(rule.uses_stuck_matches for rule in rules)
    stuck: dict[str, list[RuleMatch]] = {rule.name: [] for rule in rules if rule.finds_stuck and uses_stuck}

    def collect(rule: Rule, find: Callable[[Any], Iterable[RuleMatch]], given: object) -> list[RuleMatch]:
        """Return the matches of a rule that are reported, one for each token."""
        matches = _run(rule, find, given)
        if matches and is_counted is not None:
            matches = list(filter(is_counted, matches))
        if rule.name in stuck:
            stuck[rule.name] += matches
        if not matches or not is_shown(rule):
            return []
        reported = tokens_found.add(rule, matches if is_reported is None else filter(is_reported, matches))
        builders[rule.name].add(reported)
        return reported

    compares_all = any(is_shown(rule) and _compares_instances(rule) and not rule.uses_stuck_matches for rule in rules)
    others: dict[str, InstanceStatus] = {}  # instances in which only a comparison of instances can find something
    instances = ended = tokens = live = 0
    for context in contexts:
        instances += 1
        ended += is_final(context.status.status or "")
        tokens += context.status.total_tokens
        live += context.status.live_tokens
        found = [(rule, matches) for rule in rules if (matches := collect(rule, rule.find, context))]
        if found:
            ranking.add(context.status, found, tokens_found)
        elif compares_all or any(hits and hits[-1].visit.instance_id == context.instance_id for hits in stuck.values()):
            others[context.instance_id] = context.status
    # Rules that use the matches of others come last.
    across = [(rule, matches) for rule in tokens_found.rules if (matches := collect(rule, rule.finalize, stuck))]
    for instance_id, found in _group_by_instance(across).items():
        if instance_id in others:
            ranking.add(others[instance_id], found, tokens_found)

    also = tokens_found.count_overlaps()
    findings = [builder.build(also[name], prefix) for name, builder in builders.items() if builder.count]
    return DebugReport(
        findings=tuple(sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))),
        rules=tuple(rule.name for rule in rules if is_shown(rule)),
        instances=instances,
        tokens=tokens,
        live_tokens=live,
        troubled_tokens=tokens_found.count(),
        troubled_instances=len(tokens_found.by_instance),
        overlaps=tokens_found.list_overlaps(),
        across=frozenset(rule.name for rule, _ in across),
        ended_instances=ended,
        worst=ranking.worst(),
        severities=ranking.severities,
        worst_findings=ranking.findings,
    )


def _or_all(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


def _compares_instances(rule: Rule) -> bool:
    return type(rule).finalize is not Rule.finalize


def _group_by_instance(found: Sequence[_Found]) -> dict[str, list[_Found]]:
    groups: dict[str, list[_Found]] = {}
    for rule, matches in found:
        ordered = sorted(matches, key=lambda match: match.visit.instance_id)
        for instance_id, several in groupby(ordered, key=lambda match: match.visit.instance_id):
            groups.setdefault(instance_id, []).append((rule, list(several)))
    return groups


def _run(rule: Rule, find: Callable[[Any], Iterable[RuleMatch]], given: object) -> list[RuleMatch]:
    """Return the matches of a rule. Raises InputError if a rule of another package raises an unexpected exception."""
    try:
        return list(find(given))
    except Exception as error:
        if isinstance(error, TokctlError) or type(rule).__module__.startswith("tokctl."):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"the debug rule {rule.name} failed: {what}.", f"Skip it with --skip {rule.name}.") from error


_Found = tuple[Rule, list[RuleMatch]]


class _FoundTokens:
    """Which rules found which tokens: a bit for each rule, in the order of ``rules``."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = sorted(rules, key=lambda rule: rule.uses_stuck_matches)
        self.by_instance: dict[str, dict[str, int]] = {}
        self.bits = {rule.name: 1 << place for place, rule in enumerate(self.rules)}

    def add(self, rule: Rule, matches: Iterable[RuleMatch]) -> list[RuleMatch]:
        """Record the tokens of matches; return the matches whose tokens the rule had not found yet."""
        bit, new = self.bits[rule.name], []
        for match in matches:
            visit = match.visit
            tokens = self.by_instance.get(visit.instance_id)
            if tokens is None:
                tokens = self.by_instance[visit.instance_id] = {}
            known = tokens.get(visit.token_id, 0)
            if not known & bit:
                tokens[visit.token_id] = known | bit
                new.append(match)
        return new

    def names(self, bits: int) -> tuple[str, ...]:
        """Return the names of the rules for the bits of a token."""
        return tuple(name for name, bit in self.bits.items() if bits & bit)

    def count(self) -> int:
        """Return the number of tokens."""
        return sum(map(len, self.by_instance.values()))

    def count_overlaps(self) -> dict[str, Counter[str]]:
        """Count for each rule how many of its tokens each other rule found, too."""
        counts: Counter[int] = Counter()
        for tokens in self.by_instance.values():
            counts.update(tokens.values())
        also: dict[str, Counter[str]] = defaultdict(Counter)
        for bits, number in counts.items():
            for one, other in permutations(self.names(bits), 2):
                also[one][other] += number
        return also

    def list_overlaps(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Return the names of the rules for each (instance id, token id) that several rules found."""
        names = cache(self.names)
        return {
            (instance_id, token_id): names(bits)
            for instance_id, tokens in self.by_instance.items()
            for token_id, bits in tokens.items()
            if bits & (bits - 1)
        }


class _InstanceRanking:
    """Counts the instances with problems, and keeps the worst of them."""

    def __init__(self, rules: Sequence[Rule], limit: int, tokens_per_instance: int) -> None:
        self.limit = limit
        self.tokens_per_instance = tokens_per_instance if limit else 1
        self.severities: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self._kept: list[TroubledInstance] = []
        self._ranks = {
            rule.name: (-SEVERITIES.index(rule.severity), rule.is_consequence, place)
            for place, rule in enumerate(rules)
        }

    def add(self, status: InstanceStatus, found: Sequence[_Found], tokens_found: _FoundTokens) -> None:
        """Add an instance with the matches of each rule."""
        by_token = tokens_found.by_instance[status.instance.instance_id]
        chosen = self._choose_tokens(found, by_token, tokens_found.bits)
        also: dict[str, dict[str, RuleMatch]] = {match.visit.token_id: {} for _, match in chosen}
        others = 0  # the bits of the rules that found a chosen token, besides the one under which it is shown
        for rule, match in chosen:
            others |= by_token[match.visit.token_id] & ~tokens_found.bits[rule.name]
        for rule, matches in sorted(found, key=lambda one: self._ranks[one[0].name]):
            for match in matches if others & tokens_found.bits[rule.name] else ():
                if match.visit.token_id in also:
                    also[match.visit.token_id][rule.name] = match
        tokens = []
        for rule, match in chosen:
            also[match.visit.token_id].pop(rule.name, None)
            tokens.append(TroubledToken(match, rule.name, rule.severity, also[match.visit.token_id]))
        self.severities[tokens[0].severity] += 1
        self.findings[tokens[0].finding] += 1
        self._kept.append(TroubledInstance(status, tuple(tokens), len(by_token)))
        if len(self._kept) > 4 * self.limit + 100:
            self._trim()

    def _choose_tokens(
        self, found: Sequence[_Found], by_token: Mapping[str, int], bits: Mapping[str, int]
    ) -> list[tuple[Rule, RuleMatch]]:
        """Return the worst tokens, each under the worst rule that found it."""
        chosen: list[tuple[Rule, RuleMatch]] = []
        worse = 0  # the bits of the rules before
        ranked = sorted(found, key=lambda one: self._ranks[one[0].name])
        for _, group in groupby(ranked, key=lambda one: self._ranks[one[0].name][:2]):
            room = self.tokens_per_instance - len(chosen)
            alike: list[tuple[Rule, RuleMatch]] = []
            for rule, matches in group:
                own = [one for one in matches if not by_token[one.visit.token_id] & worse] if worse else matches
                alike += [(rule, match) for match in nsmallest(room, own, key=_failed_first)]
                worse |= bits[rule.name]
            chosen += nsmallest(room, alike, key=lambda one: _failed_first(one[1]))
            if len(chosen) == self.tokens_per_instance:
                break
        return chosen

    def _trim(self) -> None:
        self._kept.sort(key=lambda one: (-SEVERITIES.index(one.severity), *_failed_first(one.tokens[0].match)))
        del self._kept[self.limit :]

    def worst(self) -> tuple[TroubledInstance, ...]:
        self._trim()
        return tuple(self._kept)


class _FindingBuilder:
    """Collects the matches of one rule: totals, and the worst ``limit`` matches."""

    def __init__(self, rule: Rule, limit: int) -> None:
        self.rule = rule
        self.limit = limit
        self.count = 0
        self.matches: list[RuleMatch] = []
        self.instances: set[str] = set()
        self.since: datetime | None = None

    def add(self, matches: list[RuleMatch]) -> None:
        self.count += len(matches)
        self.instances.update([match.visit.instance_id for match in matches])
        since = min((match.since for match in matches if match.since is not None), default=None)
        if since is not None and (self.since is None or since < self.since):
            self.since = since
        if self.limit:
            self.matches += matches
        if len(self.matches) > 4 * self.limit + 100:
            self._trim()

    def _trim(self) -> None:
        self.matches = nsmallest(self.limit, self.matches, key=_worst_first)

    def build(self, also: Counter[str], prefix: str | None) -> DebugFinding:
        self._trim()
        rule, matches = self.rule, self.matches
        count = f"{self.count:,} {'token' if self.count == 1 else 'tokens'}"
        if len(self.instances) > 1:
            count += f" in {len(self.instances):,} instances"
        count += "".join(f"; {summary}" for summary in rule.summary())
        worst = f"{'; the worst:' if self.count > 1 else ','} {matches[0].text}" if matches else ""
        return DebugFinding(
            type=rule.name,
            severity=rule.severity,
            meaning=rule.meaning,
            count=self.count,
            instances=len(self.instances),
            since=self.since,
            matches=tuple(matches),
            also=dict(also.most_common()),
            message=f"{rule.meaning.removesuffix('.')}: {count}{worst}.",
            next=_fill_placeholders(rule.next, matches[0], prefix) if matches and prefix is not None else "",
            evidence=rule.evidence(),
        )


_PLACEHOLDER = re.compile(r"\{(instance|token|element)\}")
_PATTERN = re.compile(r"[*?[]")


def _worst_first(match: RuleMatch) -> tuple[Any, ...]:
    visit, since = match.visit, match.since
    return (-match.weight, since is None, since or 0, visit.instance_id, visit.token_id)


def _failed_first(match: RuleMatch) -> tuple[Any, ...]:
    visit, since = match.visit, match.since
    return (visit.state != FAILED, since is None, since or 0, visit.instance_id, visit.token_id)


def _fill_placeholders(command: str, match: RuleMatch, prefix: str) -> str:
    """Put the ids of a match into a command, quoted for a shell; ``{element}`` becomes a glob that matches its id."""
    visit = match.visit
    pattern = _PATTERN.sub("[\\g<0>]", visit.element_id)
    values = {"instance": visit.instance_id, "token": visit.token_id, "element": pattern}
    if visit.instance_id.startswith("-") or visit.token_id.startswith("-"):
        command = command.replace("{instance}", "-- {instance}", 1)
    filled = _PLACEHOLDER.sub(lambda placeholder: shlex.quote(values[placeholder[1]]), command)
    return prefix + filled.removeprefix("tokctl") if filled.startswith("tokctl ") else filled
