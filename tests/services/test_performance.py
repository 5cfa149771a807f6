"""What a comparison is of: the base is left out of the other side, and the groups come in order."""

from __future__ import annotations

import pytest

from support.builders import NOON, at, instance, token
from tokctl.engines.file import FileEngine
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.filters import InstanceFilter, SortOrder
from tokctl.services.performance import PerformanceQuery, analyze_performance


def engine() -> FileEngine:
    records = []
    for number, (version, seconds) in enumerate([(1, 1), (1, 3), (2, 10), (2, 20)]):
        instance_id = f"i{number}"
        records.append(instance(instance_id, process_id="order", version=version))
        for element in ("a", "b"):
            took = seconds * (1 if element == "a" else 2)
            fields = {"element_id": element, "process_id": "order", "created_at": at(0), "completed_at": at(took)}
            records.append(token(f"{instance_id}-{element}", instance_id, state="COMPLETED", **fields))
    return FileEngine(records, name="test")


def totals(groups) -> dict[str, float]:
    return {group.element_id: group.stats.total for group in groups}


def test_all_instances_with_the_longest_first():
    report = analyze_performance(engine(), PerformanceQuery(), NOON)
    assert totals(report.groups) == {"b": 68_000, "a": 34_000}
    assert [group.element_id for group in report.groups] == ["b", "a"]
    assert report.description == "4 instances of order"
    assert report.base is None


def test_a_version_is_compared_with_the_others():
    query = PerformanceQuery(compare_with="v1", order=SortOrder("name"))
    report = analyze_performance(engine(), query, NOON)
    assert report.base is not None
    assert totals(report.groups) == {"a": 30_000, "b": 60_000}
    assert totals(report.base.performance.groups()) == {"a": 4_000, "b": 8_000}
    assert (report.base.name, report.base.description) == ("version 1", "version 1: 2 instances of order")
    assert [group.comparison.base.total for group in report.groups] == [4_000, 8_000]


def test_an_instance_is_left_out_of_the_side_that_it_is_compared_with():
    report = analyze_performance(engine(), PerformanceQuery(compare_with="i3"), NOON)
    assert report.description == "3 instances of order"
    assert totals(report.groups) == {"b": 28_000, "a": 14_000}


def test_nothing_to_compare_with():
    with pytest.raises(NotFoundError, match="no token of version 9 matches"):
        analyze_performance(engine(), PerformanceQuery(compare_with="9"), NOON)
    with pytest.raises(UsageError, match="cannot compare"):
        analyze_performance(engine(), PerformanceQuery(instance_id="i1", compare_with="i1"), NOON)
    with pytest.raises(UsageError, match="the period is empty"):
        analyze_performance(engine(), PerformanceQuery(compare_with=".."), NOON)
    assert analyze_performance(engine(), PerformanceQuery(instances=InstanceFilter(version=1)), NOON).groups
