"""How many run at once, when several do, and what took most of the whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.analysis.flow.intervals import (
    ConcurrencyPeak,
    TimeSpent,
    find_parallel_periods,
    find_peak_concurrency,
    rank_bottlenecks,
)

intervals = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=9)
"""Small ones, ties, ones without length and ones that end before they begin among them."""


def parallel_periods(spans):
    return find_parallel_periods([begin for begin, _ in spans], [end for _, end in spans])


def open_at(spans, moment):
    """Which intervals are open within the unit of time that begins at a moment."""
    return {n for n, (begin, end) in enumerate(spans) if begin <= moment < end}


@given(intervals)
def test_the_peak_is_that_of_every_moment_looked_at(spans):
    counts = [len(open_at(spans, moment)) for moment in range(13)]
    peak = find_peak_concurrency(iter(spans))
    if max(counts) == 0:
        first = min((begin for begin, _ in spans), default=None)
        assert peak == ConcurrencyPeak(min(len(spans), 1), first, first)
        return
    assert peak.max_concurrent == max(counts)
    assert peak.begin == counts.index(max(counts))
    assert {counts[moment] for moment in range(peak.begin, peak.end)} == {peak.max_concurrent}
    assert any(end == peak.end for _, end in spans)


@given(intervals)
def test_stretches_are_where_two_or_more_are_open(spans):
    found = parallel_periods(spans)
    inside = {moment for stretch in found for moment in range(stretch.begin, stretch.end)}
    assert inside == {moment for moment in range(13) if len(open_at(spans, moment)) >= 2}
    assert all(before.end < after.begin for before, after in pairwise(found))
    for stretch in found:
        open_ones = [open_at(spans, moment) for moment in range(stretch.begin, stretch.end)]
        assert stretch.max_concurrent == max(map(len, open_ones))
        assert sorted(stretch.members) == sorted(set().union(*open_ones))
        assert find_peak_concurrency([spans[n] for n in stretch.members]) == (
            stretch.max_concurrent,
            stretch.peak_begin,
            stretch.peak_end,
        )


@given(intervals, st.randoms())
def test_the_order_of_the_input_means_nothing(spans, chance):
    mixed = chance.sample(spans, len(spans))
    assert find_peak_concurrency(mixed) == find_peak_concurrency(spans)
    assert [s[:3] for s in parallel_periods(mixed)] == [s[:3] for s in parallel_periods(spans)]


def test_a_million_in_a_row_are_not_parallel():
    row = [(n, n + 1) for n in range(100_000)]
    assert find_peak_concurrency(row) == ConcurrencyPeak(1, 0, 1)
    assert parallel_periods(row) == []
    beside = parallel_periods([(0, 100_000), *row])
    assert [(s.begin, s.end, s.max_concurrent, len(s.members)) for s in beside] == [(0, 100_000, 2, 100_001)]


def test_bottlenecks_add_up_what_each_took():
    spent = [("pay", 30.0, False), ("ship", 50.0, True), ("pay", 20.0, True), ("clock", -7.0, False)]
    assert rank_bottlenecks(spent) == [
        TimeSpent("pay", 2, 50.0, 30.0, 50.0, so_far_ms=20.0, longest_is_open=False),
        TimeSpent("ship", 1, 50.0, 50.0, 50.0, so_far_ms=50.0, longest_is_open=True),
        TimeSpent("clock", 1, 0.0, 0.0, 0.0),
    ]
    assert [b.percentage_of_total for b in rank_bottlenecks(spent, whole_ms=200)] == [25.0, 25.0, 0.0]
    assert [b.percentage_of_total for b in rank_bottlenecks([("a", 0.0, False)])] == [0.0]
    assert rank_bottlenecks([]) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e9), st.booleans()), min_size=1))
def test_shares_add_up_to_the_whole(spent):
    found = rank_bottlenecks(spent)
    assert [b.total_ms for b in found] == sorted((b.total_ms for b in found), reverse=True)
    if any(ms > 1e-300 for _, ms, _ in spent):
        assert sum(b.percentage_of_total for b in found) == pytest.approx(100)
