"""The parts of a report about several instances."""

from __future__ import annotations

import pytest

from support.builders import at, instance, token
from tokctl.analysis.redaction import Redactor
from tokctl.engines.file import FileEngine
from tokctl.report.overview import (
    list_changes,
    list_facts,
    list_incidents,
    list_instances,
    list_performance,
    list_variants,
    tell_overview,
)
from tokctl.services.report import ReportReader

NOW = at(3600)


def read(several, ids, base=None):
    engine = FileEngine(several, name="a.json")
    reader = ReportReader(engine, NOW, source=("a.json", "file"), redaction=Redactor(()), clock=lambda: NOW)
    return reader.read_instances(ids, base=base and ("v1", base))


def run(name: str, *seconds: float, state: str = "COMPLETED", last: str = "b", error: str = "disk full"):
    """An instance that was at ``a`` and then at the ``last`` element, for some seconds each."""
    first, second = seconds
    ended = {"completed_at": at(first + second)} if state == "COMPLETED" else {}
    context = {} if state == "COMPLETED" else {"error_message": error, "retries_left": 0}
    return [
        instance(name, process_id="p", version=1),
        token(f"{name}a", name, element_id="a", element_name="First", created_at=at(0), completed_at=at(first)),
        token(
            f"{name}b",
            name,
            element_id=last,
            state=state,
            created_at=at(first),
            updated_at=at(first + second),
            execution_context=context,
            **ended,
        ),
    ]


def test_instances_with_problems_come_first_and_lead_to_details():
    several = [*run("i1", 1, 1), *run("i2", 1, 1, state="FAILED"), *run("i3", 1, 1)]
    report = read(several, ["i1", "i2", "i3"])
    rows, omitted = list_instances(report.body, lambda one: f"#{one}", NOW)
    assert [(row.instance_id, row.address, row.severity, row.took) for row in rows] == [
        ("i2", "#i2", "HIGH", "1h…"),
        ("i1", "#i1", "", "2s"),
        ("i3", "#i3", "", "2s"),
    ]
    assert rows[0].problem.endswith("disk full")
    assert omitted == ""
    assert [one.status.instance.instance_id for one in report.body.details] == ["i2", "i1", "i3"]
    assert tell_overview(report.body) == [
        "3 instances: 2 COMPLETED~, 1 FAILED~.",
        "1 instance of 3 with problems, by the worst: 1 HIGH.",
        "1 token FAILED.",
    ]


def test_incidents_are_counted_by_element_and_error():
    several = [
        *run("i1", 1, 1, state="FAILED"),
        *run("i2", 1, 2, state="FAILED"),
        *run("i3", 1, 1, state="FAILED", error="no such file"),
        *run("i4", 1, 1, state="FAILED", last="c"),
    ]
    rows, omitted = list_incidents(read(several, ["i1", "i2", "i3", "i4"]).body, lambda _: "")
    assert [(row.element, row.error, row.incidents, row.instances, row.example) for row in rows] == [
        ("b", "disk full", 2, 2, "i1"),
        ("b", "no such file", 1, 1, "i3"),
        ("c", "disk full", 1, 1, "i4"),
    ]
    assert omitted == ""


def test_a_total_of_no_known_duration_is_none():
    several = [
        instance("i1", process_id="p"),
        token("t1", "i1", element_id="a", created_at=at(0), completed_at=at(2)),
        token("t2", "i1", element_id="b"),
        token("t3", "i1", element_id="c", state="ACTIVE", created_at=at(0)),
    ]
    rows = list_performance(read(several, ["i1"]).body.performance.groups).rows
    assert {row.element_id: row.spent for row in rows} == {"a": "2s", "b": "", "c": "≥ 1h"}


@pytest.fixture(scope="module")
def two_sides():
    """Ten instances that took longer than ten others, and went another way."""
    several = [
        *(one for n in range(10) for one in run(f"new{n}", 10 + n, 1, last="c")),
        *(one for n in range(10) for one in run(f"old{n}", 1 + n / 10, 1)),
        *run("old10", 1, 1, last="c"),
    ]
    return read(several, [f"new{n}" for n in range(10)], [f"old{n}" for n in range(11)])


def test_durations_on_both_sides(two_sides):
    rows, ticks = list_changes(two_sides.base)
    assert [(row.name, row.visits, row.base_visits, row.verdict, row.change) for row in rows] == [
        ("First", 10, 11, "slower", "+12.6s"),
        ("c", 10, 1, "few", "±0ms"),
        ("b", 0, 10, "gone", ""),
    ]
    assert all(row.base_bars for row in rows)
    assert ticks[0].text == "1s"


def test_variants_of_both_sides(two_sides):
    rows = list_variants(two_sides.body, two_sides.base, lambda one: one)
    assert [([name for name, _ in row.elements], row.instances, row.example) for row in rows] == [
        (["First", "c"], [10, 1], "new0"),
        (["First", "b"], [0, 10], "old0"),
    ]
    assert [row.shares for row in rows] == [[1, 1 / 11], [0, 10 / 11]]


def test_figures_of_both_sides(two_sides):
    """Nothing of one side counts on the other."""
    facts = {row.name: (row.value, row.base) for row in list_facts(two_sides.body, two_sides.base.body, NOW)}
    assert facts["Instances"] == ("10", "11")
    assert facts["With problems"] == ("0 (0.0%)", "0 (0.0%)")
    assert facts["Median time of ended instances"] == ("15s", "2.4s")
    assert facts["Variants"] == ("1", "2")
    assert {group.completed for group in two_sides.body.performance.groups} == {10}
