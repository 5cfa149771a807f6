"""Whether visits took longer or shorter than others did, and whether that is more than chance and spread."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import groupby

from msgspec.structs import replace

from tokctl.process.figures import figures
from tokctl.process.performance import Comparison, Group, Performance

ENOUGH = 10
ALPHA = 0.01
EFFECT = 0.33
LEAST = 0.05
CRITERION = (
    f"at least {ENOUGH} durations on both sides; Mann-Whitney U test, two-sided, p < {ALPHA} after Holm's correction "
    f"for the number of groups; |Cliff's delta| >= {EFFECT}; and the median moved by {LEAST:.0%} and 1 ms or more"
)
"""When a difference matters, in a sentence."""


def compare(subject: Performance, base: Performance) -> list[Group]:
    """Return the subject's groups, each beside the base's, those that only the base has left out.

    A difference matters where chance and spread do not account for it (CRITERION): the rank test (Mann
    and Whitney 1947, normal approximation with ties and continuity corrected) says that it is no
    chance, Holm's correction (1979) that it is none among many groups either, and Cliff's delta (1993;
    0.33 is "medium" by Romano et al. 2006) that most visits are slower or faster, as against the spread
    of each side. Ranks ask for no distribution, and a single visit that took for ever moves nothing.
    """
    theirs = matching(base, subject)
    compared: list[tuple[Group, Comparison]] = []
    for group in subject.groups():
        other = theirs.get(_match(group.key, subject, base))
        ours = subject.durations(group.key)
        if other is None:
            compared.append((group, Comparison(verdict="new")))
            continue
        known = figures(base.durations(other))
        change = None
        if group.figures.p50 is not None and known.p50 is not None:
            change = group.figures.p50 - known.p50
        if min(len(ours), known.count) < ENOUGH:
            compared.append((group, Comparison(verdict="few", base=known, change=change)))
            continue
        effect, p_value = rank_test(ours, base.durations(other))
        compared.append((group, Comparison(verdict="same", base=known, change=change, effect=effect, p_value=p_value)))
    certain = _holm([c.p_value for _, c in compared])
    return [
        replace(group, comparison=replace(c, verdict=_verdict(c)) if sure else c)
        for (group, c), sure in zip(compared, certain, strict=True)
    ]


def only_in(base: Performance, subject: Performance) -> list[Group]:
    """The base's groups that the subject has none of."""
    ours = matching(subject, base)
    return [group for group in base.groups() if _match(group.key, base, subject) not in ours]


def matching(these: Performance, others: Performance) -> dict[tuple[str | None, ...], tuple[str | None, ...]]:
    """The keys of these groups, by what the other side calls them."""
    return {_match(key, these, others): key for key in these.keyed()}


def _match(key: tuple[str | None, ...], one: Performance, two: Performance) -> tuple[str | None, ...]:
    """A key as both sides know it: where each has one process only, its name does not matter."""
    return (None, *key[1:]) if len(one.processes) <= 1 and len(two.processes) <= 1 else key


def _verdict(comparison: Comparison) -> str:
    change, effect = comparison.change or 0.0, comparison.effect or 0.0
    if abs(effect) < EFFECT or abs(change) < max(1.0, LEAST * (comparison.base.p50 or 0.0)) or change * effect < 0:
        return "same"
    return "slower" if change > 0 else "faster"


def _holm(p_values: list[float | None]) -> list[bool]:
    """Which p-values hold at ALPHA, taken together (Holm 1979)."""
    ranked = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    holds = [False] * len(p_values)
    for number, (p, place) in enumerate(ranked):
        if p * (len(ranked) - number) >= ALPHA:
            break
        holds[place] = True
    return holds


def rank_test(ours: Iterable[float], theirs: Iterable[float]) -> tuple[float, float]:
    """Return Cliff's delta (positive where ours are greater) and the two-sided p of a Mann-Whitney U test."""
    a, b = sorted(ours), sorted(theirs)
    n, m, total = len(a), len(b), len(a) + len(b)
    twice = sum(bisect_left(b, value) + bisect_right(b, value) for value in a)  # 2 U: pairs won, ties by half
    delta = twice / (n * m) - 1
    ties = sum((size := sum(1 for _ in same)) ** 3 - size for _, same in groupby(sorted([*a, *b])))
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:  # all the same
        return delta, 1.0
    z = max(abs(twice / 2 - n * m / 2) - 0.5, 0.0) / math.sqrt(variance)
    return delta, math.erfc(z / math.sqrt(2))
