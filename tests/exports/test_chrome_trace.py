"""Slices, tracks and what is open."""

from __future__ import annotations

from support.builders import at, token
from support.export_readers import prepared, read_chrome_trace, written
from tokctl.exports.chrome_trace import FORMAT
from tokctl.model.times import to_micros


def events(*instances):
    return [one for one in read_chrome_trace(written(FORMAT, *instances)) if one["ph"] != "M"]


def test_a_token_that_has_not_ended_begins_and_does_not_end():
    found = events(prepared([token("open", state="WAITING", created_at=at(0)), token("unknown end", created_at=at(0))]))
    assert [(one["ph"], one["args"]["token_id"], one["args"].get("open")) for one in found] == [
        ("B", "open", True),
        ("B", "unknown end", None),
    ]
    assert found[1]["args"]["certainty"] == {"end": "unknown"}


def test_tracks_are_used_again_when_they_are_free():
    times = {"a": (0, 4), "b": (1, 2.000001), "c": (2, 5), "d": (4, 4), "e": (4, 9)}
    tokens = [token(name, created_at=at(begin), completed_at=at(end)) for name, (begin, end) in times.items()]
    assert {one["args"]["token_id"]: one["tid"] for one in events(prepared(tokens))} == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 1,
        "e": 1,
    }


def test_incidents_and_unknown_starts_are_instants():
    failed = token("f", state="FAILED", created_at=at(0), updated_at=at(3), execution_context={"error_message": "boom"})
    found = events(prepared([failed, token("late", completed_at=at(7)), token("never")]))
    assert [(one["name"], one["ts"]) for one in found if one["ph"] == "i"] == [
        ("incident", to_micros(at(3))),
        ("task", to_micros(at(7))),
    ]
    assert found[1]["args"] == {"error": "boom", "certainty": {"failed_at": "derived"}}
    assert "never" not in [one["args"].get("token_id") for one in found]


def test_each_instance_is_a_process():
    text = written(FORMAT, prepared([token(created_at=at(0))]), prepared([], instance_id="i2", process_id="p"))
    named = [one for one in read_chrome_trace(text) if one["name"] == "process_name"]
    assert [(one["pid"], one["args"]["name"]) for one in named] == [(1, "i1"), (2, "p i2")]


def test_an_end_before_the_start_has_no_length():
    (found,) = events(prepared([token(created_at=at(5), completed_at=at(4))]))
    assert (found["dur"], found["args"]["ended_before_start_at"]) == (0, "2025-01-11T12:00:04.000Z")
