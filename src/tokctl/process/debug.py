"""Looks for trouble: runs the debug rules over instances and puts together what they find.

The documented ``debugTokenIssues`` with more rules (``process.rules``). Everything goes by one pass over
the instances; of each, only what was found is kept.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from tokctl.errors import InputError, TokctlError, UsageError
from tokctl.process.query import suggest
from tokctl.process.rules.base import SEVERITIES, Case, Hit, Rule


class Finding(Struct, frozen=True, kw_only=True):
    """What a rule found.

    ``count`` tokens in ``instances`` instances, of which ``hits`` are the worst, worst first. ``since`` is
    when the oldest of this began, as far as it is known. ``also`` says how many of the tokens other rules
    found, too.
    """

    type: str
    severity: str
    meaning: str
    count: int
    instances: int
    since: datetime | None
    hits: tuple[Hit, ...]
    also: dict[str, int]
    message: str
    next: str
    evidence: dict[str, Any] = {}


class Report(Struct, frozen=True, kw_only=True):
    """All that was found, most severe first, and what was looked at.

    ``overlaps`` names for each (instance id, token id) that several rules found those rules.
    """

    findings: tuple[Finding, ...]
    rules: tuple[str, ...]
    instances: int
    tokens: int
    live_tokens: int
    troubled_tokens: int
    troubled_instances: int
    overlaps: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def severity(self) -> str | None:
        """The worst severity; None where nothing was found."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default=None)

    def reaches(self, severity: str) -> bool:
        """Tell whether something of this severity or worse was found."""
        worst = self.severity
        return worst is not None and SEVERITIES.index(worst) >= SEVERITIES.index(severity)


def check_severity(text: str) -> str:
    """Return the name of a severity. Raises UsageError."""
    name = text.strip().upper()
    if name not in SEVERITIES:
        raise UsageError(f"unknown severity '{text}'{suggest(name, SEVERITIES)}.", f"Valid: {', '.join(SEVERITIES)}.")
    return name


def read_thresholds(rules: Iterable[type[Rule]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every threshold: as given, or its default.

    Raises:
        UsageError: a value that means nothing, or a name that no rule knows.
    """
    known = {threshold.name: threshold for rule in rules for threshold in rule.thresholds}
    for name in given:
        if name not in known:
            raise UsageError(f"there is no threshold '{name}'{suggest(name, known)}.",
                             f"Valid: {', '.join(sorted(known))}.")  # fmt: skip
    values = {name: threshold.default for name, threshold in known.items()}
    return values | {name: known[name].read(value) for name, value in given.items()}


def debug(
    cases: Iterable[Case],
    rules: Sequence[Rule],
    *,
    shown: Callable[[Rule], bool] = lambda _: True,
    wanted: Callable[[Hit], bool] | None = None,
    told: Callable[[Hit], bool] | None = None,
    limit: int | None = None,
    prefix: str = "tokctl",
) -> Report:
    """Run rules over instances.

    Args:
        cases: the instances; each is let go of before the next is asked for.
        rules: fresh ones; each run has its own.
        shown: which rules' findings to report; the others may be what those build on.
        wanted: which hits count; None is all.
        told: which of those to report; the others may have something in common with them. None is all.
        limit: how many hits of each rule to keep, the worst; the counts are those of all.
        prefix: how a command begins that looks at the same instances.
    """
    gathered = {rule.name: _Gathered(rule, limit) for rule in rules}
    marks: dict[tuple[str, str], list[str]] = defaultdict(list)
    stuck: dict[str, list[Hit]] = {}
    if any(rule.reads_stuck for rule in rules):
        stuck = {rule.name: [] for rule in rules if rule.stuck}
    instances = tokens = live = 0

    def take(rule: Rule, hits: Iterable[Hit]) -> None:
        several = gathered[rule.name]
        for hit in hits:
            if wanted is not None and not wanted(hit):
                continue
            if rule.name in stuck:
                stuck[rule.name].append(hit)
            if shown(rule) and (told is None or told(hit)):
                names = marks[hit.visit.instance_id, hit.visit.token_id]
                if rule.name not in names:  # a token counts once
                    names.append(rule.name)
                    several.add(hit)

    for case in cases:
        instances += 1
        tokens += case.status.total_tokens
        live += case.status.live_tokens
        for rule in rules:
            with _blamed(rule):
                take(rule, rule.find(case))
    for rule in sorted(rules, key=lambda rule: not rule.stuck):  # those that build on what is stuck come last
        with _blamed(rule):
            take(rule, rule.conclude(stuck))

    also = _overlaps(marks.values())
    findings = [several.finding(also[name], prefix) for name, several in gathered.items() if several.count]
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))  # stable: else in the order of the rules
    return Report(
        findings=tuple(findings),
        rules=tuple(rule.name for rule in rules if shown(rule)),
        instances=instances,
        tokens=tokens,
        live_tokens=live,
        troubled_tokens=len(marks),
        troubled_instances=len({instance for instance, _ in marks}),
        overlaps={key: tuple(names) for key, names in marks.items() if len(names) > 1},
    )


def _overlaps(marks: Iterable[list[str]]) -> dict[str, Counter[str]]:
    """Count for each rule how many of its tokens the others found, too."""
    also: dict[str, Counter[str]] = defaultdict(Counter)
    for names in marks:
        for name in names if len(names) > 1 else ():
            also[name].update(other for other in names if other != name)
    return also


class _blamed:  # noqa: N801 - it reads like a function, and is faster than one
    """Tells which rule broke, if it is one of another package's."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, TokctlError):
            return
        if not type(self.rule).__module__.startswith("tokctl."):
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"the debug rule {self.rule.name} broke: {what}.",
                             f"--skip {self.rule.name} leaves it out.") from error  # fmt: skip


class _Gathered:
    """The hits of a rule: their number, and the worst of them."""

    def __init__(self, rule: Rule, limit: int | None) -> None:
        self.rule = rule
        self.limit = limit
        self.count = 0
        self.hits: list[Hit] = []
        self.instances: set[str] = set()
        self.since: datetime | None = None

    def add(self, hit: Hit) -> None:
        self.count += 1
        self.instances.add(hit.visit.instance_id)
        if hit.since is not None and (self.since is None or hit.since < self.since):
            self.since = hit.since
        self.hits.append(hit)
        if self.limit is not None and len(self.hits) > 4 * self.limit + 100:
            self._cut()

    def _cut(self) -> None:
        self.hits.sort(key=_worst_first)
        if self.limit is not None:
            del self.hits[self.limit :]

    def finding(self, also: Counter[str], prefix: str) -> Finding:
        self._cut()
        rule, hits = self.rule, self.hits
        count = f"{self.count:,} {'token' if self.count == 1 else 'tokens'}"
        if len(self.instances) > 1:
            count += f" in {len(self.instances):,} instances"
        count += "".join(f"; {summary}" for summary in rule.sums_up())
        worst = f"{'; the worst:' if self.count > 1 else ','} {hits[0].says}" if hits else ""
        return Finding(
            type=rule.name,
            severity=rule.severity,
            meaning=rule.meaning,
            count=self.count,
            instances=len(self.instances),
            since=self.since,
            hits=tuple(hits),
            also=dict(also.most_common()),
            message=f"{rule.meaning.removesuffix('.')}: {count}{worst}.",
            next=_fill(rule.next, hits[0], prefix) if hits else "",
            evidence=rule.explain(),
        )


_PLACE = re.compile(r"\{(instance|token|element)\}")
_PATTERN = re.compile(r"[*?[]")


def _worst_first(hit: Hit) -> tuple[Any, ...]:
    since = hit.since
    return (-hit.badness, since is None, since or 0, hit.visit.instance_id, hit.visit.token_id)


def _fill(command: str, hit: Hit, prefix: str) -> str:
    """Put the ids of a hit into a command, as a shell takes them; ``{element}`` becomes a pattern that fits it."""
    visit = hit.visit
    pattern = _PATTERN.sub("[\\g<0>]", visit.element_id)
    values = {"instance": visit.instance_id, "token": visit.token_id, "element": pattern}
    if visit.instance_id.startswith("-") or visit.token_id.startswith("-"):
        command = command.replace("{instance}", "-- {instance}", 1)
    filled = _PLACE.sub(lambda place: shlex.quote(values[place[1]]), command)
    return prefix + filled.removeprefix("tokctl") if filled.startswith("tokctl ") else filled
