"""What changed between two looks: exactly that, told once, and enough to follow by it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.builders import at, instance, raw, token
from support.examples import scaled
from support.strategies import few_names, make_tokens
from tokctl.analysis import changes as module
from tokctl.analysis.changes import MAX_FINISHED_TOKENS, EndDetector, InstanceWatch, TokenChanges, WatchEvent, compare
from tokctl.documents.tokens import encode_token
from tokctl.model.instance_status import derive_status
from tokctl.model.tokens import NULL, Token

states = st.lists(make_tokens(few_names), max_size=5, unique_by=lambda one: one.token_id)
sequences = st.lists(states, min_size=1, max_size=5)
few_kept = st.sampled_from([0, 1, MAX_FINISHED_TOKENS])


def seen(value: object) -> object:
    """A value as a reader of the JSON sees it, in one way of writing."""
    return msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(value)), order="deterministic")


def documents(tokens: list[Token]) -> dict[str, object]:
    return {one.token_id: seen(encode_token(one)) for one in tokens}


def replay(state: dict[str, dict], document: dict) -> None:
    """Bring a reader's state up to date, by what an event's document says and nothing else."""
    for one in document["added"]:
        assert one["token_id"] not in state
        state[one["token_id"]] = one
    for change in (*document["changed"], *document["finished"]):
        known = state[change["token_id"]]
        if change["before"] is None:
            known.clear()
        for name, value in (change["before"] or {}).items():
            assert seen(known.pop(name)) == seen(value)
        known |= change["after"]
    for token_id in document["removed"]:
        del state[token_id]


def sent(event: WatchEvent) -> list[dict]:
    return [msgspec.json.decode(msgspec.json.encode(document)) for document in event.documents()]


@given(sequences, few_kept)
@settings(max_examples=scaled(0.5))
def test_events_replayed_from_nothing_give_the_state(sequence, keep):
    kept, state = {}, {}
    for tokens in sequence:
        kept, changes = compare(kept, tokens, keep=keep)
        for document in sent(WatchEvent(event="tokens_updated", at=at(0), changes=changes)) if changes else ():
            replay(state, document)
        assert {token_id: seen(one) for token_id, one in state.items()} == documents(tokens)


@given(sequences, few_kept)
@settings(max_examples=scaled(0.5))
def test_exactly_what_differs_is_told(sequence, keep):
    kept: dict = {}
    before: list[Token] = []
    for tokens in sequence:
        kept, changes = compare(kept, tokens, keep=keep)
        old, new = documents(before), documents(tokens)
        told = {c.token.token_id for c in (*changes.changed, *changes.finished)}
        assert {one.token_id for one in changes.added} == new.keys() - old.keys()
        assert set(changes.removed) == old.keys() - new.keys()
        assert told == {token_id for token_id in old.keys() & new.keys() if old[token_id] != new[token_id]}
        was = {one.token_id: one for one in before}
        for change in changes.finished:
            assert was[change.token.token_id].live
            assert not change.token.live
        for change in (*changes.changed, *changes.finished):
            for name in () if change.before is None else {*change.before, *change.after}:
                there, here = name in change.before, name in change.after
                assert not (there and here) or seen(change.before[name]) != seen(change.after[name])
        assert bool(changes) == (old != new)
        assert len(changes.changed) + len(changes.finished) == len(told)
        before = tokens


@given(states, st.randoms(), few_kept)
@settings(max_examples=scaled(0.5))
def test_nothing_changed_nothing_told(tokens, random, keep):
    kept, _ = compare({}, tokens, keep=keep)
    random.shuffle(tokens)
    again = [replace(one, variables=raw(None) if one.variables == NULL else one.variables) for one in tokens]
    assert not compare(kept, again, keep=MAX_FINISHED_TOKENS if keep else 0)[1]


def test_json_written_in_another_way_is_no_change_and_another_value_is():
    old = token(variables=msgspec.Raw(b'{"a": 1, "b": [1.0]}'))
    for text, changed in (
        (b'{"b":[1.0],"a":1}', False),
        (b'{"b":[1.00],"a":1}', False),
        (b'{"b":[1.0],"a":true}', True),
        (b'{"b":[1],"a":1}', True),
        (b'{"b":[1.0],"a":1,"c":null}', True),
    ):
        for keep in (0, 1):
            kept, _ = compare({}, [old], keep=keep)
            assert bool(compare(kept, [replace(old, variables=msgspec.Raw(text))], keep=keep)[1]) is changed, text


def test_a_token_stands_in_one_list():
    _, first = compare({}, [token("a", state="ACTIVE"), token("b")])
    assert [one.token_id for one in first.added] == ["a", "b"]
    assert first == TokenChanges(added=first.added)
    kept, _ = compare({}, [token("a", state="ACTIVE"), token("b"), token("c", state="WAITING"), token("d")])
    now = [token("a", completed_at=at(9)), token("b", state="FAILED"), token("c", state="SUSPENDED"), token("e")]
    _, changes = compare(kept, now)
    assert sent(WatchEvent(event="x", at=at(0), changes=changes)) == [
        {
            "event": "x",
            "at": "2025-01-11T12:00:00.000Z",
            "added": [msgspec.json.decode(msgspec.json.encode(encode_token(token("e"))))],
            "changed": [
                {"token_id": "b", "before": {"state": "COMPLETED"}, "after": {"state": "FAILED"}},
                {"token_id": "c", "before": {"state": "WAITING"}, "after": {"state": "SUSPENDED"}},
            ],
            "finished": [
                {
                    "token_id": "a",
                    "before": {"state": "ACTIVE", "completed_at": None},
                    "after": {"state": "COMPLETED", "completed_at": "2025-01-11T12:00:09.000Z"},
                }
            ],
            "removed": ["d"],
        }
    ]


def test_of_very_many_finished_tokens_some_are_kept_as_digests():
    tokens = [token(f"t{n}", element_name="x" * 1000) for n in range(10)]
    kept, _ = compare({}, tokens, keep=4)
    assert [len(one) for one in kept.values() if isinstance(one, bytes)] == [16] * 6
    _, changes = compare(kept, [replace(one, element_name="y") for one in tokens], keep=4)
    assert [change.before is None for change in changes.changed] == [False] * 4 + [True] * 6
    assert changes.changed[-1].after["token_id"] == "t9"


def test_an_event_about_very_many_tokens_is_several(monkeypatch):
    monkeypatch.setattr(module, "MAX_TOKENS_PER_EVENT", 3)
    tokens = tuple(token(f"t{n}") for n in range(4))
    changes = TokenChanges(added=tokens, removed=("a", "b", "c"))
    parts = sent(WatchEvent(event="x", at=at(0), changes=changes, facts={"status": "ACTIVE"}))
    assert [[len(part[name]) for name in ("added", "removed")] for part in parts] == [[3, 0], [1, 2], [0, 1]]
    assert all(part["status"] == "ACTIVE" for part in parts)
    parts = sent(WatchEvent(event="x", at=at(0), tokens=tokens))
    assert [[one["token_id"] for one in part["tokens"]] for part in parts] == [["t0", "t1", "t2"], ["t3"]]


# --- an instance ---------------------------------------------------------------------------------------


def look(watched: InstanceWatch, *tokens: Token, now: float = 0, status: str | None = "ACTIVE") -> list[WatchEvent]:
    return watched.update(derive_status(instance(status=status), tokens), tokens, at(now))


def due(token_id: str, seconds: float, **fields) -> Token:
    return token(token_id, state="ACTIVE", execution_context={"timeout_at": at(seconds).isoformat()}, **fields)


def names(events: list[WatchEvent]) -> list[str]:
    return [event.event for event in events]


def late(events: list[WatchEvent]) -> list[str]:
    return [one.token_id for event in events if event.event == "tokens_timeout" for one in event.tokens]


def test_a_first_look_tells_what_is_there():
    watched = InstanceWatch("i1")
    events = look(watched, token("a", state="ACTIVE", element_type="task"), token("b"))
    assert names(events) == ["watching", "tokens_updated"]
    assert events[0].facts["summary"].total_tokens == 2
    assert events[0].facts["summary"].element_types["task"] == 1
    assert names(look(watched, token("a", state="ACTIVE", element_type="task"), token("b"))) == []
    assert [one.token_id for one in watched.live] == ["a"]


def test_a_timeout_is_told_once_and_again_only_when_it_was_put_off():
    watched = InstanceWatch("i1")
    assert late(look(watched, due("a", 5), due("b", 9), due("old", -1))) == ["old"]
    assert watched.next_timeout == at(5)
    assert late(watched.tick(at(4.999))) == []
    assert late(watched.tick(at(5))) == ["a"]
    assert late(watched.tick(at(6))) == []
    assert late(look(watched, due("a", 5, variables={"x": 1}), due("b", 9), due("old", -1), now=7)) == []
    assert late(look(watched, due("a", 8), due("b", 9), due("old", -1), now=7)) == []
    assert late(watched.tick(at(20))) == ["a", "b"]
    assert watched.next_timeout is None


def test_a_token_that_finished_in_time_does_not_time_out():
    watched = InstanceWatch("i1")
    look(watched, due("a", 5))
    assert late(look(watched, token("a", execution_context={"timeout_at": at(5).isoformat()}), now=6)) == []
    assert late(watched.tick(at(9))) == []


def test_a_status_that_changes_is_told():
    watched = InstanceWatch("i1")
    look(watched, token("a", state="ACTIVE"))
    (event,) = look(watched, token("a", state="ACTIVE"), status="SUSPENDED")
    assert sent(event)[0] == {
        "event": "instance_updated",
        "at": "2025-01-11T12:00:00.000Z",
        "instance_id": "i1",
        "before": {"status": "ACTIVE"},
        "after": {"status": "SUSPENDED"},
    }


def test_an_end_is_told_once():
    watched = InstanceWatch("i1")
    assert names(look(watched, token("a"), status="COMPLETED")) == ["watching", "tokens_updated", "ended"]
    assert watched.ended
    assert watched.tick(at(1)) == []
    assert names(look(watched, token("a"), token("late"), status="COMPLETED")) == ["tokens_updated"]


@pytest.mark.parametrize(
    ("status", "tokens", "looks"),
    [
        ("COMPLETED", [token("a")], [True]),
        ("COMPLETED", [], [True]),
        ("ACTIVE", [token("a")], [False, False, False]),
        ("Läuft", [token("a")], [False, False, False]),
        (None, [], [False, False, False]),
        (None, [token("a", state="ACTIVE")], [False, False, False]),
        (None, [token("a")], [False, True]),  # derived: another token may be about to come
        ("CANCELLED", [token("a", state="ACTIVE")], [False, True]),  # it may be about to finish
    ],
)
def test_when_an_instance_has_ended_for_good(status, tokens, looks):
    ending, stands = EndDetector(), derive_status(instance(status=status), tokens)
    assert [ending.reached(stands, changed=number == 0) for number in range(len(looks))] == looks


def test_what_goes_on_has_not_ended():
    ending = EndDetector()
    done, live = (
        derive_status(instance(), [token("a")]),
        derive_status(instance(), [token("a"), token("b", state="ACTIVE")]),
    )
    assert not ending.reached(done, changed=True)
    assert not ending.reached(live, changed=True)
    assert not ending.reached(done, changed=True)
    assert not ending.reached(done, changed=True)
    assert ending.reached(done, changed=False)
