"""What every format gets: times, parents, and how certain they are."""

from __future__ import annotations

import pytest

from support.builders import at, token
from support.export_readers import prepared
from tokctl.model.states import STATE_DERIVED

FAILED_THEN = {"state_history": [{"state": "FAILED", "at": "2025-01-11T12:00:05Z"}]}


@pytest.mark.parametrize(
    ("fields", "times", "certainty"),
    [
        ({"created_at": at(0), "completed_at": at(1)}, (at(0), at(1), None), {}),
        ({"created_at": at(0), "updated_at": at(2)}, (at(0), at(2), None), {"end": "derived"}),
        ({"created_at": at(0)}, (at(0), None, None), {"end": "unknown"}),
        ({"completed_at": at(1)}, (None, at(1), None), {"start": "unknown"}),
        ({"state": "ACTIVE", "created_at": at(0), "updated_at": at(2)}, (at(0), None, None), {}),
        (
            {"state": "FAILED", "created_at": at(0), "updated_at": at(9), "execution_context": FAILED_THEN},
            (at(0), None, at(5)),
            {},
        ),
        (
            {"state": "FAILED", "created_at": at(0), "updated_at": at(9)},
            (at(0), None, at(9)),
            {"failed_at": "derived"},
        ),
        ({"state": "FAILED", "created_at": at(0)}, (at(0), None, None), {"failed_at": "unknown"}),
        (
            {
                "state": "CANCELLED",
                "created_at": at(0),
                "cancelled_at": at(1),
                "execution_context": {"cancellation_derived": True},
            },
            (at(0), at(1), None),
            {"state": "derived"},
        ),
        (
            {"state": "ACTIVE", "created_at": at(0), "extra": {STATE_DERIVED: b"true"}},
            (at(0), None, None),
            {"state": "derived"},
        ),
    ],
)
def test_times_and_how_they_are_known(fields, times, certainty):
    (one,) = prepared([token(**fields)]).tokens
    assert one.times == times
    assert one.certainty == certainty


def test_parents_of_a_join_and_how_they_are_known():
    hop = {"from_element": "a", "via_flow": "f1", "certainty": "reconstructed"}
    tokens = [
        token("join", created_at=at(3), parent_token_id="a", element_type="parallelGateway", flow_history=[hop]),
        token("b", created_at=at(1), child_tokens=("join",)),
        token("a", created_at=at(0), child_tokens=("b", "join")),
    ]
    found = {one.visit.token_id: one for one in prepared(tokens).tokens}
    assert list(found) == ["a", "b", "join"]
    assert {name: one.parents for name, one in found.items()} == {"a": (), "b": ("a",), "join": ("a", "b")}
    assert found["join"].certainty["parents"] == "reconstructed"
    assert found["join"].facts()["flows"] == ["f1"]


def test_an_ambiguous_flow_is_no_fact():
    hop = {"from_element": "a", "via_flow": "f1", "certainty": "ambiguous"}
    (one,) = prepared([token(flow_history=[hop])]).tokens
    assert "flows" not in one.facts()
