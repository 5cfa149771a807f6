"""The credential: where it goes, and that it is nowhere to be read."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from support import faulty_server
from support.calling import SECRET
from tokctl.client import Client, ClientResponse, Connection, decode_json
from tokctl.errors import NotAllowedError, TokctlError, UsageError


def test_both_headers_and_what_else_is_sent(calls):
    with faulty_server.serving(faulty_server.good()) as server:
        calls(server.url).get(("x",))
        sent = server.seen[0].headers
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert sent["x-api-key"] == SECRET
    assert sent["accept"] == "application/json"
    assert sent["accept-encoding"] == "gzip"
    assert sent["user-agent"].startswith("tokctl/")
    assert sent.keys() <= {"host", "authorization", "x-api-key", "accept", "accept-encoding", "user-agent"}


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_one(calls, nothing):
    with faulty_server.serving(faulty_server.good(b"", 401)) as server:
        with pytest.raises(NotAllowedError, match="requires a credential"):
            calls(server.url, credential=lambda: nothing).get(("x",))
        assert not {"authorization", "x-api-key"} & server.seen[0].headers.keys()


def test_it_is_asked_for_once_and_only_when_needed(calls):
    asked = []

    def credential():
        asked.append(1)
        return SECRET

    with faulty_server.serving(faulty_server.good()) as server:
        client = calls(server.url, credential=credential)
        client.post(("login",), {}, with_credential=False)
        assert asked == []
        threads = [threading.Thread(target=client.get, args=(("x",),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asked == [1]


def test_an_error_of_the_keyring_comes_through_and_is_not_remembered(calls):
    answers = iter([NotAllowedError("the keyring is locked."), None])

    def credential():
        if error := next(answers):
            raise error
        return SECRET

    with faulty_server.serving(faulty_server.good()) as server:
        client = calls(server.url, credential=credential)
        with pytest.raises(NotAllowedError, match="locked"):
            client.get(("x",))
        assert server.connections == 0
        assert client.get(("x",)).status == 200


def test_no_cookie_is_kept(calls):
    with faulty_server.serving(faulty_server.good(Set_Cookie="a=b; Path=/")) as server:
        client = calls(server.url)
        client.get(("x",))
        client.get(("x",))
        assert "cookie" not in server.seen[1].headers


def test_netrc_is_not_read(calls, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin me\npassword hunter2\ndefault login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with faulty_server.serving(faulty_server.good()) as server:
        calls(server.url, credential=lambda: None).get(("x",))
        assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize("flaw", ["\n", "\r\nX-Evil: 1", " ", "ü", "\x00", "\udcff", "\x7f", "€"])
def test_a_credential_that_no_header_can_carry(calls, flaw):
    with faulty_server.serving(faulty_server.good()) as server:
        with pytest.raises(NotAllowedError) as caught:
            calls(server.url, credential=lambda: SECRET + flaw).get(("x",))
        assert server.connections == 0
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# --- nowhere to be read ---------------------------------------------------------------------------

ECHO = f'{{"error":{{"code":"{SECRET}","message":"bad {SECRET}"}},"request_id":"{SECRET}"}}'.encode()
ECHOES = {
    **{f"envelope {status}": faulty_server.good(ECHO, status) for status in (400, 401, 403, 404, 409, 429, 500, 503)},
    "lacking": faulty_server.good(
        f'{{"error":{{"code":"FORBIDDEN","details":{{"required_permission":"{SECRET}",'
        f'"provided_permissions":["{SECRET}"]}}}}}}'.encode(),
        403,
    ),
    "text": faulty_server.good(f"who is {SECRET}?".encode(), 400, kind="text/plain"),
    "page": faulty_server.good(f"<html>{SECRET}".encode(), kind="text/html"),
    "kind": faulty_server.good(b"x", kind=f"text/{SECRET}"),
    "request id": faulty_server.good(b"", 400, X_Request_ID=SECRET),
    "encoding": faulty_server.good(Content_Encoding=SECRET),
    "redirect": faulty_server.redirect(f"https://{SECRET}.example.org/{SECRET}?{SECRET}"),
    "wrong header": faulty_server.raw(f"HTTP/1.1 200 OK\r\nA {SECRET}: x\r\n\r\n".encode()),
    "shape": faulty_server.good(f'["{SECRET}"]'.encode()),
    "cut": faulty_server.cut(SECRET.encode()),
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_server_that_says_it_back(calls, name, caplog):
    caplog.set_level(logging.DEBUG)
    with faulty_server.serving(ECHOES[name]) as server:
        client = calls(server.url)
        with pytest.raises(TokctlError) as caught:
            decode_json(client.get((SECRET,)), dict)
        with pytest.raises(TokctlError) as streamed, client.stream(("x",)) as pieces:
            raise UsageError(f"read {len(list(pieces))}")
    shown = [str(caught.value), repr(caught.value), repr(vars(caught.value)), str(streamed.value), repr(client)]
    shown += ["".join(traceback.format_exception(caught.value)), *calls.warnings, repr(client.connection)]
    shown += [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if SECRET.casefold() in text.casefold()]


@pytest.mark.parametrize(
    "written", ["sec%2Bret%2Fabc%3D%3D%22q", "sec%2Bret/abc%3D%3D%22q", 'sec+ret/abc==\\"q', "sec+ret/abc==&quot;q"]
)
def test_a_server_that_says_it_back_escaped(calls, written):
    for answer in (
        faulty_server.good(f"who is {written}?".encode(), 400, kind="text/plain"),
        faulty_server.redirect(f"https://example.org/{written}"),
    ):
        with faulty_server.serving(answer) as server, pytest.raises(TokctlError) as caught:
            calls(server.url, credential=lambda: 'sec+ret/abc=="q').get(("x",))
        assert "abc" not in str(caught.value)


def test_no_repr_shows_it(calls):
    connection = Connection("http://h", credential=partial(str, SECRET))
    with faulty_server.serving(faulty_server.good(SECRET.encode())) as server:
        client = calls(server.url)
        answer = client.get(("x",))
    for thing in (connection, Client(connection), client, answer, vars(client), client._sender, vars(client._sender)):
        assert thing is vars(client._sender) or SECRET not in repr(thing)
    assert SECRET not in repr(ClientResponse(200, SECRET.encode(), {"x": SECRET}))


def test_a_warning_where_it_crosses_a_network(calls, monkeypatch):
    with (
        faulty_server.serving(faulty_server.good()) as server,
        faulty_server.serving(faulty_server.proxy(server.port)) as proxy,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        client = calls("http://engine.invalid")
        client.get(("x",))
        client.get(("x",))
        (warning,) = calls.warnings
        assert "unencrypted" in warning
        calls("http://engine.invalid", credential=lambda: None).get(("x",))
        calls(server.url).get(("x",))
        assert len(calls.warnings) == 1


def test_the_end_of_the_credential_is_announced_once(calls):
    later = (datetime.now(UTC) + timedelta(days=3, hours=4, seconds=30)).isoformat()
    with (
        faulty_server.serving(faulty_server.good(X_Token_Expires=later)) as server,
        faulty_server.serving(faulty_server.good(X_Token_Expires="\x1b[2Jsoon")) as odd,
    ):
        client = calls(server.url)
        client.get(("x",), with_credential=False)
        assert calls.warnings == []
        for _ in range(3):
            client.get(("x",))
        (warning,) = calls.warnings
        assert re.fullmatch(
            rf"the API token for {server.url} expires in 3d 4h, at \d{{4}}-\d\d-\d\d \d\d:\d\d UTC\. "
            r"Create another one, and set it with 'tokctl auth login'\.",
            warning,
        )
        calls(odd.url).get(("x",))
        assert len(calls.warnings) == 1


def test_warnings_go_to_standard_error_unless_taken(calls, monkeypatch, capsys):
    with (
        faulty_server.serving(faulty_server.good()) as server,
        faulty_server.serving(faulty_server.proxy(server.port)) as proxy,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        with Client(Connection("http://engine.invalid", credential=lambda: SECRET)) as client:
            client.get(("x",))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: the credential is sent unencrypted")
    assert SECRET not in err
