"""What is sent to /api/api-tokens: bodies that mean something, and all the others."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from managing import MEMBERS, ROOT, fault_of

from tokctl.server.bodies import NewApiTokenBody, read_body
from tokctl.server.exchange import Exchange
from tokctl.server.refusals import Refusal

BAD = [
    ({}, "name"), ({"name": ""}, "name"), ({"name": " \t\n"}, "name"), ({"name": None}, "name"), ({"name": 1}, "name"),
    ({"name": "x" * 256}, "name"), ({"description": "x" * 4097}, "description"), ({"description": 1}, "description"),
    ({"type": "readonly"}, "type"), ({"type": None}, "type"), ({"type": ["read-only"]}, "type"),
    ({"expiresAt": ""}, "expiresAt"), ({"expiresAt": "tomorrow"}, "expiresAt"),
    ({"expiresAt": 4102444800}, "expiresAt"),
    ({"expiresAt": "2099-01-01"}, "expiresAt"), ({"expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
    ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"), ({"expiresAt": "2099-13-01T00:00:00Z"}, "expiresAt"),
    ({"scopes": None}, "scopes"), ({"scopes": "process"}, "scopes"), ({"scopes": ["proces"]}, "scopes"),
    ({"scopes": [1]}, "scopes"), ({"scopes": ["Process"]}, "scopes"), ({"nmae": "x"}, "nmae"), ({"": 1}, ""),
    ({"secret": "x"}, "secret"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_body_that_means_nothing(manager, number):
    body, member = BAD[number]
    target = manager.make()
    whole = body if "name" in body or not body else {"name": "x"} | body
    cases = [("POST", "", whole)] + [("PUT", f"/{target['id']}", body)] * bool(body)
    before = manager("GET", "/audit?newest=1&limit=1").json()
    for method, path, sent in cases:
        fault = fault_of(manager(method, path, json=sent, status=400))
        assert (fault["name"], fault["details"]) == ("ValidationError", {"member": member})
        assert repr(member) in fault["message"]
    assert manager("GET", "/audit?newest=1&limit=1").json() == before


@pytest.mark.parametrize(("body", "offer"), [
    ({"nmae": "x"}, "name"), ({"type": "full-acces"}, "full-access"), ({"scopes": ["token", "proces"]}, "process"),
    ({"expiresat": None}, "expiresAt"), ({"scope": []}, "scopes"),
])  # fmt: skip
def test_the_nearest_is_offered(manager, body, offer):
    fault = fault_of(manager("POST", json={"name": "x"} | body, status=400))
    assert f"did you mean '{offer}'" in fault["message"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"name": "\\ud800"}', b"[" * 60_000, b'{"name": "x"} x',
             b"name=x", b'{"name": "\xff"}'],
    ids=range(11),
)  # fmt: skip
def test_a_body_that_is_no_object(manager, data):
    for method, path in (("POST", ""), ("PUT", "/1"), ("POST", "/introspect")):
        answer = manager(method, path, content=data, headers={"Content-Type": "application/json"}, status=400)
        assert fault_of(answer)["details"] == {"member": ""}


@pytest.mark.parametrize("headers", [
    {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": ""},
    {"Content-Type": "application/json", "Content-Encoding": "gzip"},
], ids=range(4))  # fmt: skip
def test_a_body_of_another_kind(manager, headers):
    for method, path in (("POST", ""), ("PUT", "/1")):
        answer = manager(method, path, content=b'{"name": "x"}', headers=headers, status=415)
        assert fault_of(answer)["name"] == "UnsupportedMediaTypeError"
        assert answer.headers["accept"] == "application/json"


def test_what_is_too_large_has_the_same_form(manager):
    def chunks():
        for _ in range(10):
            yield b" " * 10_000

    for body in ({"content": b" " * 70_000}, {"content": chunks()}):
        answer = manager("POST", status=413, headers={"Content-Type": "application/json"}, **body)
        assert fault_of(answer)["name"] == "PayloadTooLargeError"
    assert fault_of(manager("GET", "?page=" + "1" * 9000, status=414))["name"] == "UriTooLongError"
    headers = {f"X-Much-{n}": "x" * 1000 for n in range(20)}
    assert fault_of(manager("GET", headers=headers, status=431))["name"] == "HeadersTooLargeError"


def test_a_body_has_its_limit_where_the_protocol_sets_none():
    """Without httptools, nothing else counts the bytes of a body that comes in chunks."""
    pieces = [{"type": "http.request", "body": b" " * 10, "more_body": True}] * 10

    async def receive():
        return pieces.pop()

    exchange = Exchange({"method": "POST"}, receive, receive, {b"content-type": b"application/json"}, "r")
    with pytest.raises(Refusal) as caught:
        asyncio.run(read_body(exchange, NewApiTokenBody, None, 35))
    assert (caught.value.status, len(pieces)) == (413, 6)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300)
    | st.sampled_from(["read-only", "full-access", "process", "2099-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
names = st.sampled_from([*MEMBERS, "nmae"]) | st.text(max_size=5)


@given(st.dictionaries(names, values, max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_json_is_taken_as_it_is_meant_or_refused(manager, body):
    before = manager("GET", "?pageSize=1").json()["meta"]["pagination"]["total"]
    text = json.dumps(body).encode("utf-8")
    answer = manager.served.client.post(
        ROOT, content=text, headers=manager.headers | {"Content-Type": "application/json"}
    )
    after = manager("GET", "?pageSize=1").json()
    if answer.status_code == 201:
        made = answer.json()
        settable = {"name", "description", "type", "expiresAt"}
        for name in settable & body.keys():
            assert made[name] == body[name] or name == "expiresAt"
        assert {*made["scopes"]} == {*body.get("scopes", ["process"])}
        assert after["data"][0]["id"] == made["id"]
    else:
        assert answer.status_code == 400, answer.text
        assert fault_of(answer)["details"]["member"] in {*body, "name", ""}
    assert after["meta"]["pagination"]["total"] == before + (answer.status_code == 201)
