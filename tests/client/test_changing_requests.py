"""Requests that change something: sent once, and what was certainly not done told from what may have been."""

from __future__ import annotations

import logging
import traceback

import pytest

from support import faulty_server
from support.calling import SECRET
from tokctl.client import OutcomeUnknownError
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError, UnreachableError, UsageError

SHORT = {"timeout": 0.3, "connect_timeout": 0.3}
NEW = "xvc_" + "N3wS3cr3t" * 4
ASKING = {
    "POST": lambda client: client.post(("x",), {"a": 1}),
    "PUT": lambda client: client.put(("x",), {"a": 1}, match='"v1"'),
    "DELETE": lambda client: client.delete(("x",), {"reason": "a b"}),
}
IN_DOUBT = {
    "silence": faulty_server.silent,
    "nothing": faulty_server.raw(b""),
    "reset": faulty_server.raw(b"", reset=True),
    "half a head": faulty_server.raw(b"HTTP/1.1 201 Cre"),
    "no http": faulty_server.raw(b"hello\r\n\r\n"),
    "half a body": faulty_server.cut(NEW.encode()),
    "a body that stops": faulty_server.stalled(faulty_server.head(201, length=99) + NEW.encode()),
    "damaged": faulty_server.good(NEW.encode(), 201, Content_Encoding="gzip"),
    "half compressed": faulty_server.zipped(NEW.encode() * 99, cut=-9),
    "too large": faulty_server.raw(faulty_server.head(201, length=1 << 40)),
    **{
        str(status): faulty_server.good(f'{{"error":"of {NEW}"}}'.encode(), status)
        for status in (500, 501, 502, 503, 504)
    },
}
REFUSED = {
    400: UsageError,
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: UsageError,
    412: UsageError,
    415: UsageError,
    429: UnreachableError,
}


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("name", IN_DOUBT)
def test_what_may_have_been_done(calls, method, name, caplog):
    caplog.set_level(logging.DEBUG)
    with faulty_server.serving(IN_DOUBT[name]) as server:
        with pytest.raises(OutcomeUnknownError) as caught:
            ASKING[method](calls(server.url, **SHORT))
        assert len(server.seen) == 1
    assert calls.waits == []
    assert caught.value.status == (int(name) if name.isdecimal() else None)
    seen = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + caplog.text
    assert NEW[:12] not in seen
    assert SECRET not in seen


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("status", REFUSED)
def test_what_was_refused_was_not_done(calls, method, status):
    with faulty_server.serving(faulty_server.good(f'{{"error":"of {NEW}"}}'.encode(), status)) as server:
        with pytest.raises(REFUSED[status]) as caught:
            ASKING[method](calls(server.url))
        assert len(server.seen) == 1
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert NEW[:12] not in str(caught.value)


@pytest.mark.parametrize("method", ASKING)
def test_what_never_left_was_not_done(calls, method):
    def credential():
        raise NotAllowedError("the keyring is locked.")

    with faulty_server.serving(faulty_server.good(), greeting=b"220 no TLS here\r\n") as server:
        for url, options in (
            (f"http://127.0.0.1:{faulty_server.unused_port()}", {}),
            ("http://nobody.invalid", {}),
            ("unix:///nowhere/tokctl.sock", {}),
            (f"http://{'a' * 70}.example", {}),
            (f"https://127.0.0.1:{server.port}", {}),
            (server.url, {"credential": credential}),
        ):
            with pytest.raises(TokctlError) as caught:
                ASKING[method](calls(url, **(SHORT | options)))
            assert not isinstance(caught.value, OutcomeUnknownError), url
    assert server.seen == []
    assert calls.waits == []


def test_a_proxy_that_makes_no_connection(calls, monkeypatch):
    with faulty_server.serving(faulty_server.raw(faulty_server.head(502, 0))) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(UnreachableError, match=r"the proxy .* cannot connect") as caught:
            calls("https://cms.invalid").post(("x",), {})
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_a_question_is_never_in_doubt(calls):
    for answer in (faulty_server.raw(b""), faulty_server.good(b"", 500), faulty_server.zipped(b"x", cut=-1)):
        with faulty_server.serving(answer) as server, pytest.raises(UnreachableError) as caught:
            calls(server.url, retries=0).get(("x",))
        assert not isinstance(caught.value, OutcomeUnknownError)


@pytest.mark.parametrize("name", ["reset", "503", "half a body"])
def test_a_repeatable_request_is_repeated_as_a_question_is(calls, name):
    with faulty_server.serving(IN_DOUBT[name], faulty_server.good(b"{}", 202)) as server:
        assert calls(server.url, **SHORT).post(("x",), {"a": 1}, repeatable=True).status == 202
        assert [one.body for one in server.seen] == [b'{"a":1}'] * 2
    with faulty_server.serving(faulty_server.raw(b"")) as server:
        with pytest.raises(UnreachableError) as caught:
            calls(server.url, retries=1).post(("x",), {}, repeatable=True)
        assert len(server.seen) == 2
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_what_is_sent(calls):
    with faulty_server.serving(faulty_server.good()) as server:
        client = calls(server.url)
        for ask in ASKING.values():
            assert ask(client).status == 200
        client.put(("a/b",), None)
        post, put, delete, unmatched = server.seen
    assert [(one.method, one.target, one.body) for one in server.seen] == [
        ("POST", "/x", b'{"a":1}'),
        ("PUT", "/x", b'{"a":1}'),
        ("DELETE", "/x?reason=a%20b", b""),
        ("PUT", "/a%2Fb", b"null"),
    ]
    assert put.headers["if-match"] == '"v1"'
    assert post.headers["content-type"] == put.headers["content-type"] == "application/json"
    assert "if-match" not in unmatched.headers.keys() | post.headers.keys()
    assert "content-type" not in delete.headers
    assert all(one.headers["authorization"] == f"Bearer {SECRET}" for one in server.seen)


def test_statuses_that_are_answers(calls):
    with faulty_server.serving(
        faulty_server.good(b"{}", 404), faulty_server.good(b"{}", 412), faulty_server.good(b"", 204)
    ) as server:
        client = calls(server.url)
        assert client.delete(("x",), accept=(404,)).status == 404
        assert client.put(("x",), {}, accept=(412,)).status == 412
        assert client.delete(("x",)).status == 204


def test_no_secret_of_another_is_repeated(calls):
    """A server may tell a secret that is not the one it was asked with."""
    mask = NEW[:8] + "..."
    for told in (NEW, NEW.upper(), f"a {NEW}!"):
        answer = faulty_server.good(f'{{"error":"{told}, {mask} x"}}'.encode(), 400)
        with faulty_server.serving(answer) as server, pytest.raises(UsageError) as caught:
            calls(server.url).get(("x",))
        assert NEW[:10].casefold() not in str(caught.value).casefold()
        assert mask in str(caught.value)
    with (
        faulty_server.serving(faulty_server.page()) as server,
        pytest.raises(InputError),
        calls(server.url).stream(("x",)),
    ):
        pass
