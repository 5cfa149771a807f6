"""Tokens made of rows that the recorded instances do not have: each case in a few rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.waiting import model
from tokctl.engines.flowable.documents import (
    SEQUENCE_FLOW,
    FlowableActivity,
    FlowableInstance,
    FlowableJob,
    FlowableRows,
    FlowableTask,
    JobQueue,
    sort_activities,
    to_instance,
)
from tokctl.engines.flowable.tokens import (
    FlowableTokenBuilder,
    build_tokens,
    has_untold_user_tasks,
    needs_executions,
)
from tokctl.engines.flowable.visits import FlowableModel
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = count(1)
RUNNING = Instance(instance_id="i", process_id="test", status="ACTIVE", started_at=BEGIN)
LINE = FlowableModel(model("start>task_a task_a>task_b task_b>end"))
LAST = FlowableModel(model("start>task_a"))
JOIN = FlowableModel(model("start>split split>task_a split>task_b task_a>join task_b>join join>end"))
MANY = '<userTask id="many"><multiInstanceLoopCharacteristics isSequential="false"/></userTask>'
REPEATED = FlowableModel(model("start>many many>end", MANY))
INNER = '<subProcess id="inside"><startEvent id="begin"/><endEvent id="done"/></subProcess>'
NESTED = FlowableModel(model("start>inside", INNER))
GUARDED = FlowableModel(
    model(
        "start>task_a task_a>end late>end",
        '<boundaryEvent id="late" attachedToRef="task_a"><messageEventDefinition/></boundaryEvent>',
    )
)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def visit(element: str, begin: float, end: float | None = None, path: str = "e", **more) -> FlowableActivity:
    """Return the row of a visit, by seconds; ids rise in the order in which rows are made."""
    return FlowableActivity(
        id=f"{next(NUMBERS)}",
        activity_type=more.pop("activity_type", "serviceTask"),
        activity_id=element,
        process_instance_id="i",
        execution_id=path,
        start_time=at(begin),
        end_time=None if end is None else at(end),
        duration_in_millis=None if end is None else round((end - begin) * 1000),
        **more,
    )


def flow(name: str, when: float, path: str = "e") -> FlowableActivity:
    return visit(name, when, when, path, activity_type=SEQUENCE_FLOW)


def job(element: str, queue: JobQueue = JobQueue.JOBS, path: str = "e", **more) -> FlowableJob:
    return FlowableJob(
        id=f"job{next(NUMBERS)}", process_instance_id="i", execution_id=path, element_id=element, queue=queue, **more
    )


def build(
    where: FlowableModel,
    activities: Iterable[FlowableActivity],
    *jobs: FlowableJob,
    instance: Instance = RUNNING,
    **more,
) -> list[Token]:
    return build_tokens(instance, FlowableRows(activities=list(activities), jobs=list(jobs), **more), where)


def states(tokens: Iterable[Token]) -> list[tuple[str, str]]:
    return [(token.element_id, token.state) for token in tokens]


def begun() -> list[FlowableActivity]:
    return [visit("start", 0, 0, activity_type="startEvent"), flow("start-task_a", 0), visit("task_a", 0)]


# --- live tokens ---


def test_a_job_is_that_of_the_visit_only_at_the_same_element():
    assert states(build(LINE, begun(), job("task_a")))[-1] == ("task_a", "ACTIVE")
    assert ("task_a", "WAITING") in states(build(LINE, begun(), job("task_b")))


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (job("task_a"), "ACTIVE"),  # the engine executes it
        (job("task_a", JobQueue.EXTERNAL), "WAITING"),  # no worker has it
        (job("task_a", JobQueue.EXTERNAL, lock_owner="w"), "ACTIVE"),
        (job("task_a", JobQueue.TIMERS, handler_type="async-continuation"), "WAITING"),
        (job("task_a", JobQueue.SUSPENDED), "SUSPENDED"),
        (job("task_a", JobQueue.DEAD_LETTERS), "FAILED"),
    ],
)
def test_the_state_follows_from_the_list_of_the_job(made, state):
    assert states(build(LINE, begun(), made))[-1] == ("task_a", state)


def test_of_several_jobs_of_a_path_one_counts():
    """A dead letter before others, and each path has one token."""
    pending = [*begun()[:2]]
    tokens = build(LINE, pending, job("task_a", JobQueue.TIMERS), job("task_a", JobQueue.DEAD_LETTERS))
    assert states(tokens) == [("start", "COMPLETED"), ("task_a", "FAILED")]


def test_a_job_of_an_armed_boundary_event_is_no_token():
    armed = visit("late", 0, None, "e2", activity_type="boundaryEvent")
    assert states(build(GUARDED, [*begun(), armed], job("late", path="e2"))) == states(build(GUARDED, begun()))


def test_a_completed_user_task_is_not_waited_for():
    """A visit that is left asynchronously has its task in the history."""
    rows = [*begun()[:2], visit("task_a", 0, 5, task_id="t")]
    task = FlowableTask(id="t", process_instance_id="i", execution_id="e", end_time=at(5))
    (token,) = (one for one in build(LINE, rows, task_history=[task]) if one.element_id == "task_a")
    assert (token.state, token.context.waiting_for) == ("COMPLETED", None)


# --- how visits ended ---


def cancelled(seconds: float) -> Instance:
    return Instance(instance_id="i", status="CANCELLED", started_at=BEGIN, cancelled_at=at(seconds))


@pytest.mark.parametrize(("end", "state"), [(100, "CANCELLED"), (50, "COMPLETED")])
def test_a_last_activity_ended_with_its_instance_or_before(end, state):
    rows = [*begun()[:2], visit("task_a", 0, end)]
    assert states(build(LAST, rows, instance=cancelled(100)))[-1] == ("task_a", state)


@pytest.mark.parametrize(("done", "state"), [(20, "COMPLETED"), (10, "CANCELLED")])
def test_a_sub_process_without_a_way_out_completes_at_its_end_event(done, state):
    inner = visit("done", done, done, "e2", activity_type="endEvent")
    rows = [visit("start", 0, 0), flow("start-inside", 0), visit("inside", 0, 20, activity_type="subProcess"), inner]
    assert ("inside", state) in states(build(NESTED, rows))


def test_an_instance_that_ended_before_its_activity_was_cancelled_was_completed():
    rows = [visit("start", 0, 0), flow("start-many", 0), visit("many", 0, 10, "a"), visit("many", 0, 20, "b")]
    found = build(REPEATED, rows, instance=cancelled(20))
    assert states(found)[1:] == [("many", "COMPLETED"), ("many", "CANCELLED")]


def test_a_flow_on_a_new_path_left_a_visit_that_had_ended():
    rows = [visit("start", 0, 0), flow("start-many", 0), visit("many", 0, 5, "a"), visit("many", 0, None, "b")]
    ended = build(REPEATED, [*rows, flow("many-end", 6, "c"), visit("end", 6, 6, "c", activity_type="endEvent")])
    tokens = {token.token_id: token for token in ended}
    end = next(token for token in ended if token.element_id == "end")
    assert tokens[end.parent_token_id or ""].state == "COMPLETED"


def test_durations_are_those_of_completed_visits():
    rows = [*begun()[:2], visit("task_a", 0, 5), flow("task_a-task_b", 5), visit("task_b", 5, 9)]
    found = FlowableTokenBuilder(cancelled(9), FlowableRows(activities=rows), LINE).durations()
    assert dict(found) == {"start": 0.0, "task_a": 5000.0}
    assert {token.element_id for token in build(LINE, rows, instance=cancelled(9)) if token.state == "CANCELLED"} == {
        "task_b"
    }


def test_the_history_tells_of_each_user_task_of_a_multi_instance_activity():
    """A flow after it may be that of another one."""
    rows = [visit("many", 0, 5, task_id="t"), flow("many-end", 5)]
    assert has_untold_user_tasks(FlowableRows(activities=rows), REPEATED)
    assert not has_untold_user_tasks(FlowableRows(activities=rows, task_history=[FlowableTask(id="t")]), REPEATED)
    single = [visit("task_a", 0, 5, task_id="t"), flow("task_a-task_b", 5)]
    assert not has_untold_user_tasks(FlowableRows(activities=single), LINE)


@pytest.mark.parametrize(
    ("reason", "status"),
    [(None, "COMPLETED"), ("terminate end event: end", "COMPLETED"), ("Deleted by an operator", "CANCELLED")],
)
def test_a_terminate_end_event_completes_an_instance(reason, status):
    row = FlowableInstance(id="i", process_definition_id="p:1:x", end_time=BEGIN, delete_reason=reason)
    assert to_instance(row, ("p", 1), suspended=False).status == status


# --- what has to be read ---


def joined(arrival: float, left: float | None) -> list[FlowableActivity]:
    return [visit("join", arrival, arrival), *([] if left is None else [flow("join-end", left)])]


@pytest.mark.parametrize(
    ("where", "activities", "jobs", "needed"),
    [
        (LINE, begun(), (), False),
        (LINE, begun(), (job("task_a"),), False),  # the visit is there
        (LINE, [*begun()[:2], visit("task_a", 0, 5)], (job("task_a"),), True),  # left asynchronously
        (LINE, [visit("elsewhere", 0)], (), True),
        (FlowableModel(None), begun(), (), True),
        (NESTED, [visit("begin", 0)], (), True),
        (JOIN, joined(5, None), (), True),
        (JOIN, joined(5, 6), (), False),
        (JOIN, joined(5, 5), (), True),  # in the same millisecond: one may have arrived after it
        (JOIN, joined(7, 6), (), True),
    ],
)
def test_executions_are_needed_where_they_tell_more(where, activities, jobs, needed):
    assert needs_executions(FlowableRows(activities=activities, jobs=list(jobs)), where) == needed


# --- the order of rows ---


@given(st.lists(st.tuples(st.integers(0, 2**60 - 1), st.integers(0, 2**14 - 1)), unique_by=lambda one: one[0]))
def test_ids_are_sorted_by_the_time_in_them(parts):
    """As the standard library reads it."""
    ids = []
    for time, sequence in parts:
        low, middle, high = time & 0xFFFFFFFF, time >> 32 & 0xFFFF, time >> 48 & 0x0FFF
        fields = low, middle, high | 0x1000, sequence >> 8 | 0x80, sequence & 0xFF, 2
        ids.append(str(UUID(fields=fields)))
    rows = [FlowableActivity(id=one, activity_type="t", process_instance_id="i", start_time=BEGIN) for one in ids]
    assert [row.id for row in sort_activities(rows)] == sorted(ids, key=lambda one: UUID(one).time)
