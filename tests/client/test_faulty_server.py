"""Servers that fail in every way they can: each ends in one clear line, in time, and with the right exit code."""

from __future__ import annotations

import gzip
import threading
import time
import tracemalloc
import zlib

import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import faulty_server
from support.calling import SECRET
from support.examples import scaled
from tokctl.client import decode_json
from tokctl.client.bodies import BodyError, TruncatedBodyError, decode_body
from tokctl.client.transport import Deadline
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError, UnreachableError, UsageError
from tokctl.input_files import MAX_PIECE_BYTES

SHORT = {"timeout": 0.4, "connect_timeout": 0.4, "retries": 0}


def read(client, *, stream: bool = False) -> None:
    if stream:
        with client.stream(("x",)) as pieces:
            for _ in pieces:
                pass
    else:
        decode_json(client.get(("x",)), dict)


def failure(calls, *answers, stream=False, **options) -> TokctlError:
    """What a get (or a stream) of such a server ends in."""
    with faulty_server.serving(*answers) as server, pytest.raises(TokctlError) as caught:
        read(calls(server.url, **options), stream=stream)
    assert str(caught.value).count("\n") == 0
    assert SECRET not in str(caught.value)
    return caught.value


# --- slow -----------------------------------------------------------------------------------------

SLOW = {
    "silent": faulty_server.silent,
    "head without end": faulty_server.stalled(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
    "head dripping": faulty_server.dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"y", 0.05),
    "headers dripping": faulty_server.dripping(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.05),
    "informed for ever": faulty_server.dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05),
    "body stalled": faulty_server.stalled(faulty_server.head(length=1000) + b"{"),
    "body dripping": faulty_server.dripping(faulty_server.head(length=1 << 20), b"x", 0.05),
    "chunk size dripping": faulty_server.dripping(faulty_server.head(Transfer_Encoding="chunked") + b"1", b"0", 0.05),
    "gzip stalled": faulty_server.stalled(
        faulty_server.head(length=1000, Content_Encoding="gzip") + gzip.compress(b"x" * 99)[:20]
    ),
    "error dripping": faulty_server.dripping(faulty_server.head(500, length=1 << 20), b"x", 0.05),
}


@pytest.mark.parametrize("stream", [False, True], ids=["get", "stream"])
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_server_does_not_hold_us(calls, name, stream):
    begun = time.monotonic()
    error = failure(calls, SLOW[name], stream=stream, **SHORT)
    assert isinstance(error, UnreachableError)
    assert time.monotonic() - begun < 2.5


def test_a_whole_answer_has_a_deadline_of_its_own(calls, monkeypatch):
    monkeypatch.setattr("tokctl.client.sender.BODY_TIMEOUT_FACTOR", 2)
    steady = faulty_server.dripping(
        faulty_server.head(length=1 << 25), b"x" * 4096, 0.02
    )  # fast enough, and never done
    error = failure(calls, steady, **SHORT)
    assert "not complete after 0.8 s" in str(error)


def test_a_deadline_that_has_passed_is_a_timeout_too():
    deadline = Deadline()
    assert deadline.remaining(7) == 7
    with deadline.limit(5), deadline.limit(0), pytest.raises(httpcore.ReadTimeout):
        deadline.remaining(7)
    with deadline.limit(5):
        assert 4 < deadline.remaining(7) <= 5
        assert 4 < deadline.remaining(None) <= 5
    assert deadline.remaining(7) == 7


def test_a_reader_that_takes_its_time_is_no_dripping_server(calls):
    small = faulty_server.raw(faulty_server.head(Transfer_Encoding="chunked") + b"5\r\nhello\r\n" * 10 + b"0\r\n\r\n")
    read = b""
    with faulty_server.serving(small) as server, calls(server.url, **SHORT).stream(("x",)) as pieces:
        for piece in pieces:
            read += piece
            time.sleep(0.15)
    assert read == b"hello" * 10


# --- broken ---------------------------------------------------------------------------------------

BROKEN = {
    "half a body": faulty_server.cut(),
    "reset in the middle": faulty_server.cut(reset=True),
    "chunks without end": faulty_server.raw(faulty_server.head(Transfer_Encoding="chunked") + b"5\r\nhello\r\n"),
    "broken chunk": faulty_server.raw(faulty_server.head(Transfer_Encoding="chunked") + b"zz\r\nhello\r\n0\r\n\r\n"),
    "gzip cut short": faulty_server.zipped(b"x" * 5000, cut=-9),
    "gzip cut at once": faulty_server.zipped(b"x" * 5000, cut=5),
    "gzip without its checksum": faulty_server.zipped(b"x" * 5000, cut=-1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_half_an_answer_is_none(calls, name):
    for stream in (False, True):
        error = failure(calls, BROKEN[name], stream=stream, retries=0)
        assert isinstance(error, UnreachableError)
        assert "ended early" in str(error)


@pytest.mark.parametrize("name", BROKEN)
def test_half_an_answer_is_asked_for_again(calls, name):
    with faulty_server.serving(BROKEN[name], faulty_server.good()) as server:
        assert decode_json(calls(server.url).get(("x",)), dict) == {"success": True, "data": {}}
        assert len(server.seen) == 2


def test_a_stream_that_has_begun_is_not_begun_anew(calls):
    with faulty_server.serving(faulty_server.cut(), faulty_server.good()) as server:
        with pytest.raises(UnreachableError, match="ended early"), calls(server.url).stream(("x",)) as pieces:
            list(pieces)
        assert len(server.seen) == 1


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_connection_that_is_cut_before_the_answer(calls, begin):
    for reset in (False, True):
        error = failure(calls, faulty_server.raw(begin, reset=reset), retries=0)
        assert isinstance(error, UnreachableError)
        assert "the server closed the connection without a response" in str(error)


def test_what_is_no_http(calls):
    error = failure(calls, faulty_server.raw(b"SSH-2.0-OpenSSH_9\r\n\r\n"), retries=0)
    assert isinstance(error, UnreachableError)
    assert "the response is not HTTP" in str(error)


def test_more_than_was_promised_spoils_this_answer_only(calls):
    def long(link):
        link.send(faulty_server.head(length=5) + faulty_server.GOOD)
        return True

    with faulty_server.serving(long, faulty_server.good()) as server:
        client = calls(server.url)
        with pytest.raises(InputError, match="not JSON"):
            decode_json(client.get(("x",)), dict)
        assert decode_json(client.get(("x",)), dict) == {"success": True, "data": {}}


# --- large ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["get", "stream"])
def test_an_endless_body_ends(calls, stream):
    error = failure(calls, faulty_server.endless, stream=stream, max_bytes=3_000_000)
    assert isinstance(error, InputError)
    assert "larger than 3,000,000 bytes" in str(error)


def test_a_body_that_says_how_large_it_is_is_not_read(calls):
    error = failure(calls, faulty_server.stalled(faulty_server.head(length=3_000_001)), max_bytes=3_000_000)
    assert "larger than 3,000,000 bytes" in str(error)
    enough = faulty_server.good(b"[" + b" " * 98 + b"]")
    with faulty_server.serving(enough) as server:
        assert len(calls(server.url, max_bytes=100).get(("x",)).body) == 100
    assert isinstance(failure(calls, enough, max_bytes=99), InputError)


def test_a_compressed_bomb_is_not_let_off(calls):
    with faulty_server.serving(faulty_server.bomb(1 << 27)) as server:  # 64 KiB of it, which come at once, are 64 MiB
        client = calls(server.url, max_bytes=4 << 20)
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="larger than 4,194,304 bytes"):
                client.get(("x",))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 24 << 20


def test_a_document_is_smaller_than_a_stream(calls):
    answer = faulty_server.zipped(b'["' + b"x" * 2_000_000 + b'"]')
    error = failure(calls, answer, max_document_bytes=1_000_000)
    assert "larger than 1,000,000 bytes" in str(error)
    with (
        faulty_server.serving(answer) as server,
        calls(server.url, max_document_bytes=1_000_000).stream(("x",)) as body,
    ):
        assert sum(map(len, body)) == 2_000_004


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"":{}},', b"1,"])
def test_a_document_of_countless_values_is_not_decoded(calls, unit):
    answer = faulty_server.zipped(b"[" + unit * 2_000_001 + b"1]")  # a few KiB
    assert "more than 2,000,000 values" in str(failure(calls, answer))


@settings(max_examples=scaled(0.6))
@given(
    st.lists(st.one_of(st.binary(max_size=2000), st.integers(1, 3 * MAX_PIECE_BYTES).map(bytes)), max_size=4),
    st.sampled_from(["gzip", "deflate", ""]),
    st.integers(1, 70_000),
)
def test_what_was_compressed_comes_out(members, encoding, size):
    body = b"".join(members)
    ways = {"gzip": lambda: b"".join(map(gzip.compress, members)), "deflate": lambda: zlib.compress(body)}
    sent = ways.get(encoding, lambda: body)()  # several of gzip's, one after the other, are one
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    out = list(decode_body(pieces, encoding, 1 << 30))
    assert b"".join(out) == body
    assert all(len(piece) <= max(MAX_PIECE_BYTES, size) for piece in out)
    with pytest.raises(BodyError):
        list(decode_body(pieces, encoding, len(body) - 1))
    if encoding and members:
        with pytest.raises(TruncatedBodyError):
            list(decode_body([sent[:-1]], encoding, 1 << 30))


@pytest.mark.parametrize(
    "answer", [faulty_server.good(Content_Encoding="gzip"), faulty_server.good(Content_Encoding="br")]
)
def test_what_cannot_be_decompressed(calls, answer):
    for stream in (False, True):
        assert isinstance(failure(calls, answer, stream=stream), InputError)


# --- something else -------------------------------------------------------------------------------


def test_a_web_page(calls):
    error = failure(calls, faulty_server.page())
    assert isinstance(error, InputError)
    assert "text/html" in str(error)
    assert "status 200" in str(error)
    assert "this is an HTML page, not JSON: 'Sign in'" in str(error)
    streamed = failure(calls, faulty_server.page(), stream=True)
    assert str(streamed).partition("/x: ")[2] == str(error).partition("/x: ")[2]


@pytest.mark.parametrize("body", [b"", b"nope", b'{"a":', b"\xff\xfe", b"[" * 100_000, b"\x1b]0;title\x07" * 99])
def test_json_that_is_none(calls, body):
    error = failure(calls, faulty_server.good(body))
    assert isinstance(error, InputError)
    assert str(error).isprintable()
    assert len(str(error)) < 300


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_is_not_followed(calls, status):
    with faulty_server.serving(faulty_server.good()) as other:
        to = f"http://user:{SECRET}@127.0.0.1:{other.port}/x?token={SECRET}#{SECRET}"
        error = failure(calls, faulty_server.redirect(to, status))
        assert isinstance(error, UsageError)
        assert f"--server http://127.0.0.1:{other.port}" in str(error)
        assert "user" not in str(error)
        assert other.connections == 0


@pytest.mark.parametrize(
    "to", ["http://[/", "/login", "//", "\x00", "javascript:alert(1)", "http://\xff/x", "x" * 9000]
)
def test_a_redirect_to_nowhere(calls, to):
    error = failure(calls, faulty_server.redirect(to))
    assert isinstance(error, UsageError | UnreachableError)
    assert str(error).isprintable()
    assert len(str(error)) < 700


def test_no_listener(calls):
    with pytest.raises(UnreachableError, match="connection refused"):
        calls(f"http://127.0.0.1:{faulty_server.unused_port()}").get(("x",))
    assert len(calls.waits) == 3


@pytest.mark.parametrize("host", ["tokctl.invalid", "a" * 64 + ".invalid", "xn--a.invalid"])
def test_no_such_name(calls, host):
    with pytest.raises((UnreachableError, UsageError), match="name"):
        calls(f"http://{host}:1").get(("x",))


def test_no_connection_in_time(calls):
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        try:
            for _ in range(4):  # the kernel answers no more than the backlog holds
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(full.getsockname())
                waiting.append(one)
            begun = time.monotonic()
            with pytest.raises(UnreachableError, match=r"no connection within 0\.3 s"):
                calls(f"http://127.0.0.1:{full.getsockname()[1]}", retries=0, connect_timeout=0.3).get(("x",))
            assert time.monotonic() - begun < 2
        finally:
            for one in waiting:
                one.close()


def test_no_route(calls):
    with pytest.raises(TokctlError) as caught:
        calls("http://[100::1]:9", retries=0, connect_timeout=1).get(("x",))  # RFC 6666: leads nowhere
    assert caught.value.exit_code == 5
    assert "100::1" in str(caught.value)


# --- statuses -------------------------------------------------------------------------------------


def envelope(code, message="because", **details) -> bytes:
    import msgspec

    error = {"code": code, "message": message, "details": details}
    return msgspec.json.encode({"success": False, "error": error, "request_id": "req_7"})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (faulty_server.good(envelope("UNAUTHORIZED"), 401), NotAllowedError, ["credential", "because", "req_7"]),
        (
            faulty_server.good(
                envelope("FORBIDDEN", required_permission="process", provided_permissions=["job", "token"]), 403
            ),
            NotAllowedError,
            ["lacks the permission 'process'", "job, token", "req_7"],
        ),
        (faulty_server.good(envelope("FORBIDDEN"), 403), NotAllowedError, ["because"]),
        (
            faulty_server.good(b'{"error":{"code":"FORBIDDEN","message":"no"},"meta":{"request_id":"req_8"}}', 403),
            NotAllowedError,
            ["no", "req_8"],
        ),
        (faulty_server.good(b'{"error":"Invalid token"}', 401), NotAllowedError, ["Invalid token"]),
        (faulty_server.good(b"404 page not found\n", 404, kind="text/plain"), NotFoundError, ["404 page not found"]),
        (faulty_server.page(404), NotFoundError, ["not found"]),
        (faulty_server.good(envelope("VALIDATION_ERROR"), 400), UsageError, ["because", "VALIDATION_ERROR"]),
        (faulty_server.good(b"[]", 422, X_Request_ID="req_9"), UsageError, ["422", "req_9"]),
        (faulty_server.good(envelope("X", "a\x1b[31m\u202eb" + "c" * 999), 409), UsageError, ["409"]),
        (faulty_server.good(b"{" * 100_000, 400), UsageError, ["400"]),
        (faulty_server.good(b"", 405), UsageError, ["405"]),
        (faulty_server.good(b"x", 501), UnreachableError, ["501"]),
        (faulty_server.good(envelope("BUSY"), 503), UnreachableError, ["BUSY", "because"]),
        (
            faulty_server.good(b'{"error":{"code":5,"message":[],"details":7},"request_id":{}}', 500),
            UnreachableError,
            ["500"],
        ),
        (faulty_server.good(b"", 304), InputError, ["304"]),
        (faulty_server.good(b"", 300), InputError, ["300"]),
    ],
)
def test_statuses(calls, answer, kind, words):
    error = failure(calls, answer)
    assert isinstance(error, kind)
    assert all(word in str(error) for word in words), str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 500


def test_not_found_tells_the_servers_code_or_is_an_answer(calls):
    missing = faulty_server.good(envelope("TOKEN_NOT_FOUND"), 404)
    error = failure(calls, missing)
    assert isinstance(error, NotFoundError)
    assert error.code == "TOKEN_NOT_FOUND"
    assert failure(calls, faulty_server.page(404)).code is None
    with faulty_server.serving(missing) as server:
        assert calls(server.url).get(("x",), missing_ok=True).status == 404
        assert calls(server.url).get(("x",), accept={404, 409}).status == 404


def test_an_etag_makes_304_an_answer(calls):
    with faulty_server.serving(faulty_server.good(b"", 304)) as server:
        assert calls(server.url).get(("x",), etag='"v1"').status == 304
        assert server.seen[0].headers["if-none-match"] == '"v1"'


# --- connections ----------------------------------------------------------------------------------


def test_connections_are_kept_and_shared_by_threads(calls):
    with faulty_server.serving(faulty_server.good()) as server:
        client = calls(server.url)
        for _ in range(5):
            client.get(("x",))
        assert server.connections == 1
        failed: list[Exception] = []

        def ask() -> None:
            try:
                for number in range(25):
                    assert client.get(("x", str(number))).body == faulty_server.GOOD
            except Exception as error:  # noqa: BLE001 - of whatever kind
                failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(server.seen) == 205
        assert server.connections <= 8


def test_an_error_leaves_its_connection_usable(calls):
    with faulty_server.serving(faulty_server.good(envelope("X"), 400), faulty_server.good()) as server:
        client = calls(server.url)
        with pytest.raises(UsageError):
            client.get(("x",))
        client.get(("x",))
        assert server.connections == 1


def test_a_stream_and_a_get_beside_it(calls):
    body = b"x" * (4 << 20)
    with faulty_server.serving(faulty_server.good(body), faulty_server.good()) as server:
        client = calls(server.url)
        with client.stream(("x",)) as pieces:
            total = len(next(pieces))
            assert client.get(("y",)).body == faulty_server.GOOD
            total += sum(map(len, pieces))
        assert total == len(body)


def test_a_stream_can_be_left(calls):
    with faulty_server.serving(faulty_server.endless, faulty_server.good()) as server:
        client = calls(server.url)
        with client.stream(("x",)) as pieces:
            next(pieces)
        assert client.get(("y",)).status == 200


def test_a_server_that_was_started_anew(calls):
    with faulty_server.serving(faulty_server.good()) as server:
        client = calls(server.url)
        client.get(("x",))
        port = server.port
    with pytest.raises(UnreachableError):
        client.get(("x",))
    with faulty_server.serving(faulty_server.good(), port=port):
        assert client.get(("x",)).status == 200


def test_a_post_is_sent_once(calls):
    with faulty_server.serving(faulty_server.good(b"", 503), faulty_server.good()) as server:
        with pytest.raises(UnreachableError):
            calls(server.url).post(("x",), {"a": 1})
        assert [asked.body for asked in server.seen] == [b'{"a":1}']
        assert server.seen[0].headers["content-type"] == "application/json"
    with faulty_server.serving(faulty_server.raw(b"")) as server:
        with pytest.raises(UnreachableError):
            calls(server.url).post(("x",), {})
        assert len(server.seen) == 1
    with faulty_server.serving(faulty_server.good(b'{"jwt":"x"}', 201)) as server:
        assert calls(server.url).post(("x",), {}, with_credential=False).status == 201
        assert SECRET not in str(server.seen)


def test_a_unix_socket(calls, tmp_path):
    path = str(tmp_path / "tokctl.sock")
    with faulty_server.serving(faulty_server.good(), unix=path) as server:
        assert calls(f"unix://{path}").get(("x",)).status == 200
        assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"
    assert calls.warnings == []
    with pytest.raises(UnreachableError, match="gone"):
        calls(f"unix://{tmp_path}/gone").get(("x",))
