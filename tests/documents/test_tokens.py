"""Between JSON and the models: nothing is lost, and what is refused is refused by the name of its field."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from support.builders import at, raw, token, token_json
from support.examples import scaled
from support.strategies import make_instances, make_tokens
from tokctl.documents.base import DocumentError, decode_object
from tokctl.documents.definitions import decode_definition
from tokctl.documents.instances import decode_instance, encode_instance
from tokctl.documents.tokens import decode_token, encode_token
from tokctl.model.durations import Duration, compute_token_duration
from tokctl.model.element_types import canonical_type, type_matches
from tokctl.model.instances import summarize
from tokctl.model.states import STATES, canonical_state
from tokctl.model.times import LAST, format_time, from_micros, parse_time, to_micros, to_utc
from tokctl.model.tokens import ExecutionContext

PLAIN = {"token_id": "t", "element_id": "e", "state": "ACTIVE", "instance_id": "i"}


def decode(**fields):
    return decode_token(json.dumps(PLAIN | fields))


def encoded(one):
    return json.loads(msgspec.json.encode(encode_token(one)))


# --- round trips ---


def test_the_documented_example_comes_back_as_it_was(documented):
    data = json.loads(documented)["data"]
    read = [decode_token(json.dumps(one), data["instance_id"], data["process_id"]) for one in data["tokens"]]
    assert [encoded(one) for one in read] == data["tokens"]
    summary = summarize((one.state, one.element_type, 1) for one in read)
    written = json.loads(msgspec.json.encode(summary))
    for name, value in data["summary"].items():
        if isinstance(value, dict):
            assert {key: written[name][key] for key in value} == value
        else:
            assert written[name] == value


def test_the_documented_order_of_keys_is_kept(documented):
    data = json.loads(documented)["data"]
    for one in data["tokens"]:
        assert list(encoded(decode_token(json.dumps(one), "i"))) == list(one)


def test_unknown_fields_are_kept_wherever_they_stand(documented):
    for one in json.loads(documented)["data"]["tokens"]:
        one |= {"x-zone": {"rack": [1, 2.50, None]}, "is_active": False, "": ""}
        one["execution_context"]["x-queue"] = {"deep": [{"a": 1e-7}]}
        one["variables"]["big"] = 12345678901234567890123
        one["flow_history"][0]["x-note"] = "перешёл"
        assert encoded(decode_token(json.dumps(one), "i")) == one


def test_json_of_the_user_is_kept_to_the_letter():
    text = (
        '{"token_id":"t","element_id":"e","state":"ACTIVE","instance_id":"i","variables":{"a": 1.50,  "b":1E2,"a":2}}'
    )
    assert bytes(decode_token(text).variables) == b'{"a": 1.50,  "b":1E2,"a":2}'


@given(make_tokens())
def test_any_token_comes_back_equal(one):
    assert decode_token(token_json(one)) == one


@pytest.mark.parametrize("unknown", [{}, {"unknown": 1}])
def test_what_is_empty(unknown):
    one = decode(process_id="", element_type="", element_name="", parent_token_id="", **unknown)
    assert (one.process_id, one.element_type, one.element_name, one.parent_token_id) == (None, None, "", None)
    assert one.name == "e"


@given(make_instances())
def test_any_instance_comes_back_equal(one):
    text = msgspec.json.encode(encode_instance(one))
    assert decode_instance(decode_object(text)) == one


@given(make_tokens())
def test_reading_what_is_known_of_a_token_never_fails(one):
    assert isinstance(one.context, ExecutionContext)
    assert all(hop.timestamp is None or hop.timestamp.tzinfo is UTC for hop in one.hops)
    took = compute_token_duration(one)
    assert took is None or math.isfinite(took.ms)
    assert one.name


# --- states and types ---


@pytest.mark.parametrize(
    ("given_state", "expected"),
    [
        ("ACTIVE", "ACTIVE"),
        ("active", "ACTIVE"),
        ("CANCELED", "CANCELLED"),
        ("canceled", "CANCELLED"),
        ("Terminated", "CANCELLED"),
        ("TERMINATED", "CANCELLED"),
        ("FAILED", "FAILED"),
        ("waiting", "WAITING"),
        ("INCIDENT", "INCIDENT"),
        ("läuft", "läuft"),
    ],
)
def test_states_of_other_engines(given_state, expected):
    assert canonical_state(given_state) == expected
    assert decode(state=given_state).state == expected
    assert decode(state=given_state, unknown=1).state == expected  # read the lenient way


def test_only_two_states_are_final():
    assert {state for state in (*STATES, "INCIDENT") if not token(state=state).live} == {
        "COMPLETED",
        "CANCELLED",
    }


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        ("SERVICE_TASK", "serviceTask"),
        ("service_task", "serviceTask"),
        ("serviceTask", "serviceTask"),
        ("Service Task", "serviceTask"),
        ("EXCLUSIVE-GATEWAY", "exclusiveGateway"),
        ("STARTEVENT", "startEvent"),
        ("robotArm", "robotArm"),
        ("", None),
        (None, None),
    ],
)
def test_names_of_element_types(given_type, expected):
    assert decode(element_type=given_type).element_type == expected
    if given_type:
        assert canonical_type(given_type) == expected


@pytest.mark.parametrize(
    ("element_type", "wanted", "matches"),
    [
        ("exclusiveGateway", "gateway", True),
        ("serviceTask", "task", True),
        ("task", "task", True),
        ("boundaryEvent", "event", True),
        ("serviceTask", "gateway", False),
        ("subProcess", "task", False),
        ("serviceTask", "SERVICE_TASK", True),
        ("serviceTask", "userTask", False),
        ("multitask", "task", False),
        ("callActivity", "event", False),
    ],
)
def test_families(element_type, wanted, matches):
    assert type_matches(element_type, wanted) is matches


# --- times ---

MOMENT = datetime(2026, 11, 21, 17, 10, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-21T17:10:37Z", MOMENT),
        ("2026-11-21T19:10:37+02:00", MOMENT),
        ("2026-11-21T17:10:37", MOMENT),
        ("2026-11-21T17:10:37.5Z", MOMENT + timedelta(milliseconds=500)),
        ("2026-11-21T17:10:37.599570885Z", MOMENT + timedelta(microseconds=599571)),
        (1795281037, MOMENT),
        (1795281037.25, MOMENT + timedelta(milliseconds=250)),
        (1795281037250, MOMENT + timedelta(milliseconds=250)),
        (0, from_micros(0)),
        (-1, from_micros(-1_000_000)),
        (None, None),
        ("", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+10:00", None),
        ("0001-12-31T23:59:59Z", None),
        (-62135596800, None),
        ("9999-12-31T23:59:59-10:00", LAST),
        ("9999-12-31T23:59:59.999999999Z", LAST),
        ("9999-12-31t23:59:59.9999996-01:00", LAST),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2016-12-31T23:59:60.25", datetime(2016, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2017-01-01T01:59:60+02:00", datetime(2016, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_times_of_every_kind(value, expected):
    assert parse_time(value) == expected
    for one in (decode(created_at=value), decode(created_at=value, unknown=1)):
        assert one.created_at == expected
        assert one.created_at is None or one.created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2016-12-31T12:00:60Z",
        "2016-12-31T23:59:60+02:00",
        "2016-12-31T23:59:61Z",
        "0000-01-01T00:00:00Z",
        "yesterday",
        "2026-13-01T00:00:00Z",
        True,
        [],
        {},
        10**400,
        1e300,
        -(10**30),
    ],
)
def test_what_is_no_time(value):
    with pytest.raises(ValueError, match=r"time"):
        parse_time(value)


def test_times_are_written_as_documented():
    assert format_time(at(0.789)) == "2025-01-11T12:00:00.789Z"
    assert format_time(at(0)) == "2025-01-11T12:00:00.000Z"
    assert format_time(at(0.000001)) == "2025-01-11T12:00:00.000001Z"
    assert format_time(None) is None


@given(st.datetimes(timezones=st.timezones()))
@settings(max_examples=scaled(0.5))
def test_times_keep_their_microseconds(moment):
    same = to_utc(moment)
    assert from_micros(to_micros(same)) == same
    assert parse_time(format_time(same)) == same


# --- refusals ---


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"token_id": None}, "token_id"),
        ({"token_id": ""}, "token_id"),
        ({"token_id": 7}, "token_id"),
        ({"state": None}, "state"),
        ({"state": 1}, "state"),
        ({"element_id": ""}, "element_id"),
        ({"element_id": {}}, "element_id"),
        ({"instance_id": ""}, "instance_id"),
        ({"instance_id": 5}, "instance_id"),
        ({"process_id": 5}, "process_id"),
        ({"element_type": 5}, "element_type"),
        ({"element_name": []}, "element_name"),
        ({"parent_token_id": 5}, "parent_token_id"),
        ({"child_tokens": "t"}, "child_tokens"),
        ({"child_tokens": [1]}, "child_tokens"),
        ({"created_at": "soon"}, "created_at"),
        ({"updated_at": "soon"}, "updated_at"),
        ({"completed_at": []}, "completed_at"),
        ({"cancelled_at": True}, "cancelled_at"),
        ({"created_at": 10**400}, "created_at"),
        ({"token_id": "a\0b"}, "token_id"),
        ({"instance_id": "a\0b"}, "token_id"),
    ],
)
def test_a_refusal_names_the_field(fields, field):
    with pytest.raises(DocumentError) as caught:
        decode(**fields)
    assert caught.value.field == field
    assert caught.value.reason
    assert str(caught.value).startswith(f"{field}: ")


def test_the_document_around_a_token_names_its_instance():
    text = '{"token_id": "t", "element_id": "e", "state": "ACTIVE"}'
    with pytest.raises(DocumentError) as caught:
        decode_token(text)
    assert caught.value.field == "instance_id"
    one = decode_token(text, "i", "p")
    assert (one.instance_id, one.process_id) == ("i", "p")


@pytest.mark.parametrize("unknown", [{}, {"unknown": 1}])
def test_a_token_of_another_instance_does_not_take_the_process(unknown):
    one = decode_token(json.dumps(PLAIN | {"instance_id": "other"} | unknown), "i", "p")
    assert (one.instance_id, one.process_id) == ("other", None)


@pytest.mark.parametrize("text", ["7", '"t"', "[]", "null", "{", "", '{"a": NaN}', '{"token_id": "\\ud800"}', "{}"])
def test_what_is_no_token_at_all(text):
    with pytest.raises(DocumentError):
        decode_token(text)


def test_names_by_other_engines():
    text = json.dumps({"id": "t", "status": "CANCELED", "process_instance_id": "i", "current_element_id": "e"})
    one = decode_token(text)
    assert (one.token_id, one.state, one.instance_id, one.element_id) == ("t", "CANCELLED", "i", "e")
    both = decode(id="elsewhere", status="odd")
    assert (both.token_id, both.state) == ("t", "ACTIVE")
    assert both.extra == {"id": raw("elsewhere"), "status": raw("odd")}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "instance_id"),
        ({"instance_id": "i\0"}, "instance_id"),
        ({"instance_id": "i", "version": "x"}, "version"),
        ({"instance_id": "i", "started_at": "soon"}, "started_at"),
        ({"instance_id": "i", "status": 1}, "status"),
    ],
)
def test_a_refused_instance_names_the_field(fields, field):
    with pytest.raises(DocumentError) as caught:
        decode_instance({name: raw(value) for name, value in fields.items()})
    assert caught.value.field == field


def test_a_status_that_was_worked_out_is_not_read_back():
    told = {"instance_id": raw("i"), "status": raw("ACTIVE")}
    assert decode_instance(told).status == "ACTIVE"
    assert decode_instance(told | {"status_derived": raw(True)}).status is None
    assert decode_instance(told | {"status_derived": raw(False)}).status == "ACTIVE"


def test_a_definition_that_is_none():
    with pytest.raises(DocumentError, match="definition"):
        decode_definition('{"version": 1}')


# --- durations ---


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"duration_ms": 29889}, Duration(29889.0, derived=False)),
        ({"duration_ms": 0}, Duration(0.0, derived=False)),
        ({"duration_ms": "12.5"}, Duration(12.5, derived=False)),
        ({"duration_ms": None}, Duration(60_000.0, derived=True)),
        ({}, Duration(60_000.0, derived=True)),
        ({"duration_ms": "long", "retries_used": 1}, Duration(60_000.0, derived=True)),
        ("no object", Duration(60_000.0, derived=True)),
    ],
)
def test_durations(context, expected):
    one = token(created_at=at(0), completed_at=at(60), execution_context=context)
    assert compute_token_duration(one) == expected


@pytest.mark.parametrize("text", ["inf", "-Infinity", "nan"])
def test_a_duration_that_is_not_finite_is_no_duration(text):
    context = token(execution_context={"duration_ms": text, "worker_id": "w"}).context
    assert (context.duration_ms, context.worker_id) == (None, "w")


def test_a_duration_that_nobody_knows():
    assert compute_token_duration(token(state="ACTIVE", created_at=at(0), completed_at=at(60))) is None
    assert compute_token_duration(token(created_at=None, completed_at=at(60))) is None
    assert compute_token_duration(token(created_at=at(0))) is None
    assert compute_token_duration(token(created_at=at(0), updated_at=at(1))) == Duration(1000.0, derived=True)
    assert compute_token_duration(token(state="CANCELLED", created_at=at(0), cancelled_at=at(2))) == Duration(
        2000.0, derived=True
    )


def test_one_field_of_the_wrong_type_leaves_the_others():
    context = token(execution_context={"worker_id": "w", "retries_used": 10**30, "timeout_at": "soon"}).context
    assert (context.worker_id, context.retries_used, context.timeout_at) == ("w", None, None)
    far = token(execution_context={"timeout_at": "0001-01-01T00:00:00+10:00"}).context
    assert far.timeout_at is None
    hops = token(flow_history=[{"timestamp": "0001-01-01T00:00:00+10:00"}]).hops
    assert hops[0].timestamp is None


@pytest.mark.parametrize("number", ["1e400", "1" * 400, "1" * 5000])
def test_a_number_without_a_limit_leaves_the_other_fields(number):
    raw_context = Raw(f'{{"worker_id":"w","x":{number},"timeout_at":"9999-12-31T23:59:59.9999999Z"}}'.encode())
    context = token(execution_context=raw_context).context
    assert (context.worker_id, context.timeout_at) == ("w", LAST)


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ({"completed_at": "2025-01-11T12:00:00Z"}, "COMPLETED"),
        ({"cancelled_at": "2025-01-11T12:00:00Z"}, "CANCELLED"),
        ({"completed_at": "0001-01-01T00:00:00Z"}, "DONE"),
        ({}, "DONE"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"unknown": 1}])
def test_a_token_of_an_unknown_state_with_an_end_has_ended(ended, state, more):
    one = decode(state="DONE", **ended, **more)
    assert one.state == state
    assert one.live == (state == "DONE")
    kept = {"state_derived": Raw(b"true"), "source_state": Raw(b'"DONE"')} if state != "DONE" else {}
    assert one.extra == kept | {name: raw(value) for name, value in more.items()}
    assert decode_token(token_json(one)) == one


# --- summaries ---


def test_a_summary_has_a_key_for_every_state():
    summary = summarize([("ACTIVE", "serviceTask", 2), ("STUCK", None, 3), ("ACTIVE", "userTask", 1)])
    assert summary.total_tokens == 6
    assert summary.active_tokens == 3
    assert summary.token_states == dict.fromkeys(STATES, 0) | {"ACTIVE": 3, "STUCK": 3}
    assert summary.element_types == {"endEvent": 0, "serviceTask": 2, "startEvent": 0, "userTask": 1}


def test_a_null_is_unknown_and_not_empty():
    assert bytes(decode(variables=None).variables) == b"null"
    assert bytes(decode().variables) == b"null"
    assert bytes(decode(variables={}).variables) == b"{}"
    assert decode(child_tokens=None).child_tokens is None
    assert decode(child_tokens=[]).child_tokens == ()
    assert isinstance(decode(variables={}).variables, Raw)


def test_no_name_of_a_field_is_special():
    text = '{"token_id":"t","instance_id":"i","element_id":"e","state":"ACTIVE","(undocumented)":{"token_id":1}}'
    one = decode_token(text)
    assert one.extra == {"(undocumented)": Raw(b'{"token_id":1}')}
    assert decode_token(msgspec.json.encode(encode_token(one, instance=True))) == one


def test_an_object_nested_without_end():
    with pytest.raises(DocumentError, match="nested too deeply"):
        decode_object('{"v":' + "[" * 200_000 + "]" * 200_000 + "}")
