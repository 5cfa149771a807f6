"""What happened to an instance, in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.builders import at, instance, token
from tokctl.analysis.redaction import Redactor
from tokctl.engines.file import FileEngine
from tokctl.report.story import MAX_STEPS, summarize, tell_story
from tokctl.services.report import ReportReader

NOW = at(3600)


def read(*records):
    engine = FileEngine(records, name="a.json")
    reader = ReportReader(engine, NOW, source=("a.json", "file"), redaction=Redactor(()), clock=lambda: NOW)
    return reader.read_instance("i1").body


def task(number: int, **fields):
    """A task that took a second."""
    times = {"created_at": at(number), "completed_at": at(number + 1), "updated_at": at(number + 1)}
    return token(f"t{number}", element_id=f"e{number}", element_type="serviceTask", **times | fields)


def failed(number: int, **context):
    history = [{"state": "FAILED", "at": at(number + 5).isoformat()}]
    context |= {"state_history": history, "retries_left": 0}
    fields = {"state": "FAILED", "completed_at": None, "updated_at": at(number + 9)}
    return task(number, execution_context=context, **fields)


def test_a_failed_instance_is_summed_up():
    about = instance(process_id="p", version=2, started_at=at(0))
    body = read(about, task(0), failed(1, error_message="disk full", retries_used=2))
    assert summarize(body, NOW) == [
        "This instance of p v2 is FAILED~, 1h after its start.",
        "e1 FAILED 59m 54s ago: disk full.",
        "It cannot continue without an intervention.",
    ]


def test_many_failures_are_counted():
    told = summarize(read(*(failed(n) for n in range(5))), NOW)
    failures = [f"e{n} FAILED 59m 5{5 - n}s ago; no error message was recorded." for n in range(3)]
    assert told[1:5] == [*failures, "2 more tokens FAILED."]


def test_an_instance_that_has_ended_well():
    body = read(instance(process_id="p", status="COMPLETED"), task(0), task(1))
    assert summarize(body, NOW) == [
        "This instance of p is COMPLETED. It took 2s.",
        f"No problems found ({len(body.debug.rules)} rules checked).",
    ]


def test_how_long_it_took_may_be_unknown():
    body = read(instance(process_id="p", status="COMPLETED"), task(0, created_at=None))
    assert summarize(body, NOW)[0] == "This instance of p is COMPLETED; how long it took is unknown."
    body = read(instance(process_id="p", status="ACTIVE"), task(0, created_at=None, completed_at=None, state="ACTIVE"))
    assert summarize(body, NOW)[0] == "This instance of p is ACTIVE; when it started is unknown."


@pytest.mark.parametrize(
    ("status", "times", "told"),
    [
        ("ACTIVE", {}, "it starts later"),
        ("COMPLETED", {"completed_at": at(9999)}, "it ended before it started"),
    ],
)
def test_times_that_contradict_each_other_are_named(status, times, told):
    body = read(instance(process_id="p", status=status, started_at=NOW + timedelta(days=1), **times), task(0))
    assert summarize(body, NOW)[0] == f"This instance of p is {status}; according to its times, {told}."


def test_the_story_is_in_order_of_time():
    """A failure is told when it happened, not when the token was created or changed last."""
    waiting = {"state": "WAITING", "completed_at": None, "execution_context": {"worker_id": "anna"}}
    decision = {"gateway_decision": {"selected_flow": "yes", "condition_evaluated": "a > 1"}}
    retried = {"execution_context": {"retries_used": 1, "duration_ms": 1000}}
    story = tell_story(
        read(
            failed(0, error_message="disk\nfull!", worker_id="w"),
            task(1, execution_context=decision),
            task(2, **retried),
            task(3, **waiting),
            task(6, state="CANCELLED", completed_at=None, cancelled_at=at(7)),
            task(8, completed_at=at(8)),
        )
    )
    assert [(step.time, step.element_id, step.text, step.kind) for step in story] == [
        (at(2), "e1", "took yes, because a > 1.", ""),
        (at(3), "e2", "completed in 1s after 1 retry.", ""),
        (at(3), "e3", "reached; it is WAITING now (anna).", "live"),
        (at(5), "e0", "failed (w): disk full!", "FAILED"),
        (at(7), "e6", "cancelled after ~1s.", ""),
        (at(8), "e8", "passed.", ""),
    ]


def test_unknown_times_are_not_guessed():
    story = tell_story(read(task(0, completed_at=None, updated_at=None), task(5)))
    assert [step.time for step in story] == [None, at(6)]


def test_of_many_steps_the_important_ones_are_told():
    """The first ones, the failure in the middle, and the last ones; gaps are counted."""
    total = 10 * MAX_STEPS
    story = tell_story(read(*(failed(n) if n == total // 2 else task(n) for n in range(total))))
    steps = [step.element_id for step in story if step.name]
    assert len(steps) == MAX_STEPS
    assert steps[:8] == [f"e{n}" for n in range(8)]
    assert steps[8] == f"e{total // 2}"
    assert steps[-1] == f"e{total - 1}"
    gaps = [int(step.text.split()[0]) for step in story if not step.name]
    assert (len(gaps), sum(gaps)) == (2, total - MAX_STEPS)


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([task(0, state="ACTIVE", completed_at=None)], "It continues once the event that it waits for occurs."),
        ([task(0, state="odd", completed_at=None)], "Whether all tokens can continue is unknown."),
        (
            [task(0, state="ACTIVE", completed_at=None), failed(1)],
            "1 of 2 live tokens cannot continue without an intervention.",
        ),
    ],
)
def test_prospects(records, sentence):
    assert summarize(read(*records), NOW)[-1] == sentence
