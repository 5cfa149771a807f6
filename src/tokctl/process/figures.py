"""Figures of a set of durations: how many, how long in all, on average, and their percentiles."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct


class Figures(Struct, frozen=True, kw_only=True):
    """What a set of durations comes to; times in the unit of the durations (ms, everywhere in tokctl).

    Percentiles are exact, and each is one of the durations: see ``percentile``. The total is the exact
    sum, rounded once, so the order in which durations came leaves no trace. Without any there are no
    times: everything but ``count`` and ``total`` is None.
    """

    count: int = 0
    total: float = 0.0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    min: float | None = None
    max: float | None = None


NONE = Figures()


def percentile(sorted_values: Sequence[float], p: int) -> float:
    """Return the p-th percentile (0 to 100) of sorted values by nearest rank.

    That is the smallest value that at least p % of all are not greater than: definition 1 of Hyndman
    and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50 (1996), the
    inverse of the empirical distribution function. Nothing is interpolated: the answer is a value that
    was seen. p is a whole number, so that no rounding can move the rank.

    Raises:
        ValueError: there are no values, or p is no percentage.
    """
    if not sorted_values or not 0 <= p <= 100:
        raise ValueError(f"no percentile {p} of {len(sorted_values)} values")
    rank = -(-p * len(sorted_values) // 100)
    return sorted_values[max(rank, 1) - 1]


def figures(durations: Iterable[float]) -> Figures:
    """Work out the figures of durations in any order; each has to be a finite number."""
    ranked = sorted(durations)
    if not ranked:
        return NONE
    total = exact_sum(ranked)
    return Figures(
        count=len(ranked),
        total=total,
        mean=min(max(total / len(ranked), ranked[0]), ranked[-1]),  # rounding must not carry it past them
        p50=percentile(ranked, 50),
        p90=percentile(ranked, 90),
        p99=percentile(ranked, 99),
        min=ranked[0],
        max=ranked[-1],
    )


def exact_sum(values: Collection[float]) -> float:
    """The sum, rounded once; where a float cannot hold it, the greatest (or least) that it can."""
    try:
        return math.fsum(values)
    except OverflowError:  # sources may say anything: 1e308 ms, twice
        return math.copysign(sys.float_info.max, math.fsum(value / len(values) for value in values))
