"""Lifecycle transitions, and events without a time."""

from __future__ import annotations

import pytest

from support.builders import at, token
from support.export_readers import prepared, read_xes, written
from tokctl.exports.xes import FORMAT
from tokctl.model.times import format_time


def changes(*tokens):
    """(transition, state, time, certainty) of each event."""
    ((_, events),) = read_xes(written(FORMAT, prepared(tokens)))
    names = ("lifecycle:transition", "state", "time:timestamp", "certainty")
    return [tuple(event.get(name) for name in names) for event in events]


def history(*changes):
    return {"state_history": [{"state": state, "at": format_time(at(second))} for state, second in changes]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"completed_at": at(9)}, [("complete", "COMPLETED", at(9), None)]),
        ({"state": "CANCELLED", "cancelled_at": at(9)}, [("ate_abort", "CANCELLED", at(9), None)]),
        ({}, [("complete", "COMPLETED", None, "unknown")]),
        ({"state": "ACTIVE"}, []),
        ({"state": "WAITING"}, [("unknown", "WAITING", None, "unknown")]),
        ({"state": "SUSPENDED"}, [("suspend", "SUSPENDED", None, "unknown")]),
        ({"state": "FAILED", "updated_at": at(9)}, [("suspend", "FAILED", at(9), "derived")]),
        (
            {"completed_at": at(9), "execution_context": history(("SUSPENDED", 1), ("WAITING", 2), ("ACTIVE", 3))},
            [
                ("suspend", "SUSPENDED", at(1), None),
                ("resume", "WAITING", at(2), None),
                ("unknown", "ACTIVE", at(3), None),
                ("complete", "COMPLETED", at(9), None),
            ],
        ),
        (
            {"state": "FAILED", "updated_at": at(9), "execution_context": history(("FAILED", 4))},
            [("suspend", "FAILED", at(4), None)],
        ),
        (
            {"state": "CANCELLED", "cancelled_at": at(9), "execution_context": {"cancellation_derived": True}},
            [("ate_abort", "CANCELLED", at(9), "derived")],
        ),
    ],
)
def test_transitions(fields, expected):
    assert changes(token(created_at=at(0), **fields)) == [("start", "ACTIVE", at(0), None), *expected]


def test_an_event_without_a_time_stays_with_its_token():
    found = changes(
        token("a", created_at=at(0)), token("b", completed_at=at(1)), token("c", created_at=at(2), completed_at=at(3))
    )
    assert [one[:3:2] for one in found] == [
        ("start", at(0)),
        ("complete", None),
        ("start", None),
        ("complete", at(1)),
        ("start", at(2)),
        ("complete", at(3)),
    ]


def test_text_that_xml_cannot_hold_is_replaced():
    text = written(FORMAT, prepared([token(element_name='<&"\n\x00\ufffe', created_at=at(0))]))
    ((_, events),) = read_xes(text)
    assert events[0]["concept:name"] == '<&"\n\ufffd\ufffd'


def test_traces_and_events_have_what_is_known():
    context = {"worker_id": "w1", "error_message": "boom", "retries_left": 0}
    failed = token(state="FAILED", created_at=at(0), updated_at=at(1), execution_context=context, element_name="Pay")
    ((about, (start, suspend)),) = read_xes(
        written(FORMAT, prepared([failed], process_id="p", version=2, business_key="B-1"))
    )
    assert about == {
        "concept:name": "i1",
        "instance_id": "i1",
        "process_id": "p",
        "version": 2,
        "status": "FAILED",
        "status_certainty": "derived",
        "business_key": "B-1",
    }
    assert start["org:resource"] == "w1"
    assert (start["concept:name"], start["element_id"], start["concept:instance"]) == ("Pay", "task", "t1")
    assert "error" not in start
    assert suspend["error"] == "boom"
