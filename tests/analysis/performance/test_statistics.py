"""Figures of durations against the definitions, worked out the long way."""

import statistics
import sys
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokctl.analysis.performance.statistics import (
    NO_STATISTICS,
    DurationStatistics,
    compute_statistics,
    exact_sum,
    percentile,
)

times = st.lists(st.floats(0, 1e12) | st.integers(0, 5).map(float), min_size=1, max_size=60)


def at_most(values, limit):
    return sum(value <= limit for value in values)


@given(times, st.integers(0, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values, p):
    found = percentile(sorted(values), p)
    assert found in values
    assert at_most(values, found) * 100 >= p * len(values)
    assert all(at_most(values, less) * 100 < p * len(values) for less in values if less < found)


def test_percentiles_of_a_hundred_are_their_ranks():
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, p) for p in (0, 1, 50, 90, 99, 100)] == [1, 1, 50, 90, 99, 100]
    assert [percentile([1.0, 2.0], p) for p in (50, 51)] == [1, 2]  # not 1.5: nothing is made up


@pytest.mark.parametrize(("values", "p"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_no_percentile_of_nothing(values, p):
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, p)


@given(times, st.randoms())
@example([0.1] * 3, None)
@example([0.0], None)
def test_figures(values, random):
    if random is not None:
        random.shuffle(values)
    found = compute_statistics(values)
    exact = sum(map(Fraction, values))
    ranked = sorted(values)
    assert found.total == float(exact)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert ranked[0] <= found.mean <= ranked[-1]
    assert (found.count, found.min, found.max) == (len(values), ranked[0], ranked[-1])
    assert found.p50 == statistics.median_low(values)
    assert (found.p90, found.p99) == (percentile(ranked, 90), percentile(ranked, 99))


def test_figures_of_nothing_are_unknown_and_not_zero():
    assert compute_statistics([]) == NO_STATISTICS == DurationStatistics()
    assert (NO_STATISTICS.mean, NO_STATISTICS.p50, NO_STATISTICS.max) == (None, None, None)


def test_a_sum_that_no_float_holds_is_the_most_that_one_does():
    assert exact_sum([1e308] * 3) == sys.float_info.max
    assert exact_sum([-1e308] * 3) == -sys.float_info.max
    assert compute_statistics([1e308, 1e308]).mean == pytest.approx(1e308, rel=0.2)
