"""Spans: their ids, incidents, links and times that a span needs but nobody knows."""

from __future__ import annotations

import json

from support.builders import at, token
from support.export_readers import LATER, attributes, prepared, read_otlp, written
from tokctl.exports.otlp import FORMAT, MAX_SPANS, span_id, trace_id
from tokctl.model.times import to_micros


def spans(tokens, **about):
    """The spans by the ids of their tokens; that of the instance is under ''."""
    found = read_otlp(written(FORMAT, prepared(tokens, **about)))
    return {attributes(span).get("tokctl.token_id", ""): span for span in found}


def nanos(time):
    return to_micros(time) * 1000


def test_ids_follow_from_those_of_instance_and_token():
    found = spans([token("a", created_at=at(0), child_tokens=("b",)), token("b", created_at=at(1))])
    assert {span.trace_id.hex() for span in found.values()} == {trace_id("i1")}
    assert {name: span.span_id.hex() for name, span in found.items()} == {
        "": span_id("i1"),
        "a": span_id("i1", "a"),
        "b": span_id("i1", "b"),
    }
    assert {name: span.parent_span_id.hex() for name, span in found.items()} == {
        "": "",
        "a": span_id("i1"),
        "b": span_id("i1", "a"),
    }

    assert span_id("i1", "a") != span_id("i1a")


def test_the_resource_is_the_process():
    text = written(FORMAT, prepared([token(created_at=at(0))], process_id="order", version=3))
    (resource,) = json.loads(text)["resourceSpans"]
    assert resource["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "order"}},
        {"key": "service.version", "value": {"stringValue": "3"}},
        {"key": "tokctl.process_id", "value": {"stringValue": "order"}},
        {"key": "tokctl.version", "value": {"intValue": "3"}},
    ]


def test_an_incident_is_an_exception():
    context = {"error_message": "no stock", "stack_trace": "at X"}
    found = spans([token(state="FAILED", created_at=at(0), updated_at=at(5), execution_context=context)])["t1"]
    assert (found.status.code, found.status.message) == (2, "no stock")
    (event,) = found.events
    assert (event.name, event.time_unix_nano) == ("exception", nanos(at(5)))
    assert attributes(event) == {
        "exception.message": "no stock",
        "exception.stacktrace": "at X",
        "tokctl.certainty": "derived",
    }
    silent = spans([token(state="FAILED", created_at=at(0))])["t1"]
    assert attributes(silent.events[0]) == {"exception.type": "incident", "tokctl.certainty": "unknown"}
    assert not silent.events[0].time_unix_nano


def test_a_join_and_a_call_have_links():
    tokens = [
        token("a", created_at=at(0), child_tokens=("b", "join")),
        token("b", created_at=at(1), child_tokens=("join",), execution_context={"called_instance_id": "i2"}),
        token("join", created_at=at(2), element_type="parallelGateway", parent_token_id="a"),
    ]
    found = spans(tokens)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found["join"].links] == [
        (trace_id("i1"), span_id("i1", "b"))
    ]
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found["b"].links] == [(trace_id("i2"), span_id("i2"))]


def test_an_open_token_ends_at_the_export_and_is_marked():
    found = spans([token(state="ACTIVE", created_at=at(0))])
    for name in ("", "t1"):
        assert found[name].end_time_unix_nano == nanos(LATER)
        assert attributes(found[name])["tokctl.open"] is True
        assert "tokctl.certainty.end" not in attributes(found[name])


def test_the_parent_is_that_of_the_tree():
    """Neither a further parent stands for a parent without a time, nor one in a cycle."""
    tokens = [
        token("never", state="ACTIVE", child_tokens=("join",)),
        token("b", created_at=at(0), child_tokens=("join",)),
        token("join", created_at=at(1), element_type="parallelGateway", parent_token_id="never"),
        token("x", created_at=at(2), parent_token_id="y"),
        token("y", created_at=at(3), parent_token_id="x"),
    ]
    found = spans(tokens)
    assert {name: span.parent_span_id.hex() for name, span in found.items() if name in {"join", "x", "y"}} == {
        "join": span_id("i1"),
        "x": span_id("i1"),
        "y": span_id("i1", "x"),
    }


def test_unknown_times_are_marked():
    tokens = [
        token("no-end", created_at=at(0)),
        token("no-start", completed_at=at(3)),
        token("never", state="ACTIVE"),
        token("backwards", created_at=at(5), completed_at=at(4)),
    ]
    found = spans(tokens)
    assert "never" not in found
    assert {
        name: {
            key.removeprefix("tokctl.certainty."): value for key, value in attributes(span).items() if ".cert" in key
        }
        for name, span in found.items()
        if name
    } == {"no-end": {"end": "unknown"}, "no-start": {"start": "unknown"}, "backwards": {"end": "before start"}}
    assert all(span.end_time_unix_nano == span.start_time_unix_nano for name, span in found.items() if name)


def test_large_instances_are_written_in_pieces():
    tokens = [token(f"t{n}", created_at=at(n), completed_at=at(n)) for n in range(MAX_SPANS)]
    pieces = list(FORMAT.write([prepared(tokens)], LATER))
    assert [len(read_otlp(piece)) for piece in pieces] == [MAX_SPANS, 1]


def test_changes_of_state_are_events():
    history = [{"state": "WAITING", "at": "2025-01-11T12:00:01Z"}, {"state": "ACTIVE", "at": "2025-01-11T12:00:02Z"}]
    found = spans([token(created_at=at(0), completed_at=at(3), execution_context={"state_history": history})])["t1"]
    assert [(one.name, one.time_unix_nano) for one in found.events] == [
        ("WAITING", nanos(at(1))),
        ("ACTIVE", nanos(at(2))),
    ]
