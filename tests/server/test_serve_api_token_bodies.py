"""Request bodies for /api/api-tokens: valid and invalid ones."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.managing import MEMBERS, ROOT, fault_of
from tokctl.server.http_errors import HTTPError
from tokctl.server.request import Request
from tokctl.server.request_bodies import NewApiTokenBody, read_body
from tokctl.server.settings import Limits

sqlite_only = pytest.mark.parametrize("manager", ["sqlite"], indirect=True)
"""A body is checked before the store is used: one kind of store is enough."""

BAD = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": " \t\n"}, "name"),
    ({"name": None}, "name"),
    ({"name": 1}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"description": "x" * 4097}, "description"),
    ({"description": 1}, "description"),
    ({"type": "readonly"}, "type"),
    ({"type": None}, "type"),
    ({"type": ["read-only"]}, "type"),
    ({"expiresAt": ""}, "expiresAt"),
    ({"expiresAt": "tomorrow"}, "expiresAt"),
    ({"expiresAt": 4102444800}, "expiresAt"),
    ({"expiresAt": "2099-01-01"}, "expiresAt"),
    ({"expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
    ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
    ({"expiresAt": "2099-13-01T00:00:00Z"}, "expiresAt"),
    ({"scopes": None}, "scopes"),
    ({"scopes": "process"}, "scopes"),
    ({"scopes": ["proces"]}, "scopes"),
    ({"scopes": [1]}, "scopes"),
    ({"scopes": ["Process"]}, "scopes"),
    ({"nmae": "x"}, "nmae"),
    ({"": 1}, ""),
    ({"secret": "x"}, "secret"),
]


@sqlite_only
@pytest.mark.parametrize("number", range(len(BAD)))
def test_invalid_bodies(manager, number):
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


@sqlite_only
@pytest.mark.parametrize(
    ("body", "offer"),
    [
        ({"nmae": "x"}, "name"),
        ({"type": "full-acces"}, "full-access"),
        ({"scopes": ["token", "proces"]}, "process"),
        ({"expiresat": None}, "expiresAt"),
        ({"scope": []}, "scopes"),
    ],
)
def test_the_nearest_name_is_suggested(manager, body, offer):
    fault = fault_of(manager("POST", json={"name": "x"} | body, status=400))
    assert f"did you mean '{offer}'" in fault["message"]


@sqlite_only
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"name": "\\ud800"}',
        b"[" * 60_000,
        b'{"name": "x"} x',
        b"name=x",
        b'{"name": "\xff"}',
    ],
    ids=range(11),
)
def test_a_body_that_is_not_an_object(manager, data):
    for method, path in (("POST", ""), ("PUT", "/1"), ("POST", "/introspect")):
        answer = manager(method, path, content=data, headers={"Content-Type": "application/json"}, status=400)
        assert fault_of(answer)["details"] == {"member": ""}


@sqlite_only
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
    ids=range(4),
)
def test_unsupported_content_types(manager, headers):
    for method, path in (("POST", ""), ("PUT", "/1")):
        answer = manager(method, path, content=b'{"name": "x"}', headers=headers, status=415)
        assert fault_of(answer)["name"] == "UnsupportedMediaTypeError"
        assert answer.headers["accept"] == "application/json"


@sqlite_only
def test_errors_of_size_limits_have_the_same_format(manager):
    def chunks():
        for _ in range(10):
            yield b" " * 10_000

    for body, status, name in (
        (b" " * 70_000, 413, "PayloadTooLargeError"),
        (chunks(), 411, "LengthRequiredError"),
    ):
        answer = manager("POST", status=status, headers={"Content-Type": "application/json"}, content=body)
        assert fault_of(answer)["name"] == name
    assert fault_of(manager("GET", "?page=" + "1" * 9000, status=414))["name"] == "UriTooLongError"
    headers = {f"X-Much-{n}": "x" * 1000 for n in range(20)}
    assert fault_of(manager("GET", headers=headers, status=431))["name"] == "HeadersTooLargeError"


def post(receive) -> Request:
    scope = {"method": "POST", "raw_path": b"/", "query_string": b""}
    return Request(scope, receive, receive, "r", {b"content-type": b"application/json"})


def test_the_body_limit_does_not_depend_on_the_http_server():
    pieces = [{"type": "http.request", "body": b" " * 10, "more_body": True}] * 10

    async def receive():
        return pieces.pop()

    with pytest.raises(HTTPError) as caught:
        asyncio.run(read_body(post(receive), NewApiTokenBody, None, Limits(body=35)))
    assert (caught.value.status, len(pieces)) == (413, 6)


def test_a_body_has_a_time_limit():
    async def receive():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(HTTPError) as caught:
        asyncio.run(read_body(post(receive), NewApiTokenBody, None, Limits(head_seconds=0.1)))
    assert (caught.value.status, caught.value.closes_connection) == (408, True)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.sampled_from(["read-only", "full-access", "process", "2099-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([*MEMBERS, "nmae"]) | st.text(max_size=5)


@sqlite_only
@given(st.dictionaries(names, values, max_size=5))
@settings(max_examples=scaled(1.5), deadline=None)
def test_any_json_is_accepted_or_rejected(manager, body):
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
