"""Compares the durations of two sets of visits: which groups became slower or faster, beyond chance and spread."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import groupby

from msgspec.structs import replace

from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.performance.groups import GroupComparison, GroupKey, VisitGroup
from tokctl.analysis.performance.statistics import compute_statistics

MIN_DURATIONS = 10
ALPHA = 0.01
MIN_EFFECT = 0.33
MIN_RELATIVE_CHANGE = 0.05
CRITERION = (
    f"at least {MIN_DURATIONS} durations on both sides; Mann-Whitney U test, two-sided, p < {ALPHA} "
    f"after Holm's correction for the number of groups; |Cliff's delta| >= {MIN_EFFECT}; "
    f"and the median moved by {MIN_RELATIVE_CHANGE:.0%} and 1 ms or more"
)
"""The criterion for a difference that matters, as a sentence."""


def compare(subject: Performance, base: Performance) -> list[VisitGroup]:
    """Return the groups of the subject, each with its comparison to the base. Groups of the base only are left out.

    A difference matters if chance and spread do not explain it (CRITERION). The rank test (Mann and Whitney 1947,
    normal approximation, corrected for ties and continuity) excludes chance; Holm's correction (1979) does so for many
    groups at once; and Cliff's delta (1993; 0.33 is "medium" according to Romano et al. 2006) requires that most visits
    became slower or faster, compared with the spread of each side. Rank tests do not assume a distribution, and a
    single extreme duration does not influence them.
    """
    theirs = match_keys(base, subject)
    compared: list[tuple[VisitGroup, GroupComparison]] = []
    for group in subject.groups():
        other = theirs.get(_normalize_key(group.key, subject, base))
        if other is None:
            compared.append((group, GroupComparison(verdict="new")))
            continue
        known = compute_statistics(base.durations(other))
        median, before = group.stats.p50, known.p50
        change = None if median is None or before is None else median - before
        found = GroupComparison(verdict="few", base=known, change=change)
        if min(group.stats.count, known.count) >= MIN_DURATIONS:
            effect, p_value = rank_test(subject.durations(group.key), base.durations(other))
            found = replace(found, verdict="same", effect=effect, p_value=p_value)
        compared.append((group, found))
    certain = _apply_holm_correction([c.p_value for _, c in compared])
    return [
        replace(group, comparison=replace(c, verdict=_verdict(c)) if sure else c)
        for (group, c), sure in zip(compared, certain, strict=True)
    ]


def find_groups_only_in(base: Performance, subject: Performance) -> list[VisitGroup]:
    """Return the groups of the base that the subject does not have."""
    ours = match_keys(subject, base)
    return [group for group in base.groups() if _normalize_key(group.key, base, subject) not in ours]


def match_keys(these: Performance, others: Performance) -> dict[GroupKey, GroupKey]:
    """Return the keys of the groups of ``these``, by their keys in ``others``."""
    return {_normalize_key(key, these, others): key for key in these.buckets_by_key()}


def _normalize_key(key: GroupKey, one: Performance, two: Performance) -> GroupKey:
    """Return the key that both sides use: if each has one process only, its name does not matter."""
    return (None, *key[1:]) if len(one.processes) <= 1 and len(two.processes) <= 1 else key


def _verdict(comparison: GroupComparison) -> str:
    change, effect = comparison.change or 0.0, comparison.effect or 0.0
    if (
        abs(effect) < MIN_EFFECT
        or abs(change) < max(1.0, MIN_RELATIVE_CHANGE * (comparison.base.p50 or 0.0))
        or change * effect < 0
    ):
        return "same"
    return "slower" if change > 0 else "faster"


def _apply_holm_correction(p_values: list[float | None]) -> list[bool]:
    """Tell which p-values are significant at ALPHA, all of them taken together (Holm 1979)."""
    ranked = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    holds = [False] * len(p_values)
    for number, (p, place) in enumerate(ranked):
        if p * (len(ranked) - number) >= ALPHA:
            break
        holds[place] = True
    return holds


def rank_test(ours: Iterable[float], theirs: Iterable[float]) -> tuple[float, float]:
    """Return Cliff's delta (positive if ours are greater) and the two-sided p-value of a Mann-Whitney U test."""
    a, b = sorted(ours), sorted(theirs)
    n, m, total = len(a), len(b), len(a) + len(b)
    twice = sum(bisect_left(b, value) + bisect_right(b, value) for value in a)  # 2 U: won pairs, ties count half
    delta = twice / (n * m) - 1
    ties = sum((size := sum(1 for _ in same)) ** 3 - size for _, same in groupby(sorted([*a, *b])))
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:  # all values are equal
        return delta, 1.0
    z = max(abs(twice / 2 - n * m / 2) - 0.5, 0.0) / math.sqrt(variance)
    return delta, math.erfc(z / math.sqrt(2))
