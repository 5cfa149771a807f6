"""Addresses: what is a server's URL and what is not, and ids that stay one segment of a path whatever they hold."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import faulty
from tokctl.client import Client, Connection, check_url
from tokctl.client.address import is_loopback, parse_url, target
from tokctl.errors import UsageError

BASE = parse_url("http://h")
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
nasty = st.lists(st.sampled_from(["/", "..", ".", "?", "#", "%", "%2F", "%00", "\\", "+", " ", "&", "é", "漢", "\n"]),
                 min_size=1).map("".join)  # fmt: skip


@given(st.lists(st.one_of(text, nasty), min_size=1, max_size=4))
def test_each_segment_stays_one(segments):
    path = target(BASE, segments, {})
    assert path.isascii()
    assert path.isprintable()
    assert " " not in path
    sent = path.split("/")[1:]
    assert [unquote(one, errors="strict") for one in sent] == segments
    assert not {".", "..", ""} & set(sent)
    assert not set("?#\\") & set(path)


@given(st.dictionaries(text, st.one_of(text, st.lists(text, min_size=1, max_size=3)), min_size=1, max_size=3))
def test_a_query_says_what_was_given(params):
    path, _, query = target(BASE, ["x"], params).partition("?")
    assert path == "/x"
    pairs = [(name, one) for name, given in params.items() for one in ([given] if isinstance(given, str) else given)]
    assert parse_qsl(query, keep_blank_values=True, strict_parsing=True) == pairs


IDS = [
    "a/b", "..", ".", "../../etc", "a?b=c", "a#b", "%00", "%2e%2e", "a%2Fb", "a b", "a+b", "ü/漢", "\U0001f600", "a\\b",
    "\r\nX-Evil: 1", "\x1b[31m", "x" * 100_000, "/" * 33_000, "http://elsewhere/x", "//elsewhere", ":@", "~a-_.b",
]  # fmt: skip


def test_the_server_sees_exactly_the_segment(calls):
    with faulty.serving(faulty.good()) as server:
        client = calls(server.url + "/base/")
        for name in IDS:
            answer = client.get(("api", "v1", "processes", name, "tokens"), {"state": "A&B=ü"})
            assert len(answer.url) <= 160
        for name, asked in zip(IDS, server.seen, strict=True):
            path, _, query = asked.target.partition("?")
            *before, segment, last = path.split("/")
            assert before == ["", "base", "api", "v1", "processes"]
            assert last == "tokens"
            assert unquote_to_bytes(segment).decode() == name
            assert query == "state=A%26B%3D%C3%BC"
            assert "x-evil" not in asked.headers
        assert server.targets[1] == "/base/api/v1/processes/%2E%2E/tokens?state=A%26B%3D%C3%BC"
        assert server.connections == 1


@settings(max_examples=30)
@given(st.one_of(text, nasty))
def test_the_server_sees_any_segment(name):
    with faulty.serving(faulty.good()) as server, Client(Connection(server.url)) as client:
        client.get((name,))
        assert unquote_to_bytes(server.targets[0][1:]).decode() == name


def test_a_secret_for_a_url_is_not_repeated():
    for text in ("xvc_hunter2hunter2", "http://xvc_hunter2hunter2", "https://h/xvc_hunter2hunter2"):
        with pytest.raises(UsageError, match="holds a secret") as caught:
            parse_url(text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "\0", "a\0b", "\udcff", "x\ud800"])
def test_what_no_server_can_have_is_not_asked_for(calls, name):
    with faulty.serving(faulty.good()) as server:
        with pytest.raises(UsageError) as caught:
            calls(server.url).get(("processes", name))
        assert server.connections == 0
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError):
        target(BASE, ["x"], {"state": "\udcff"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:27555", "http://localhost:27555"),
        ("https://engine.example.org/", "https://engine.example.org"),
        ("  HTTPS://Engine.Example.Org:8443/a/b// ", "https://engine.example.org:8443/a/b"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://h/a%2Fb/c d".replace(" ", "%20"), "http://h/a%2Fb/c%20d"),
        ("http://h/ü", "http://h/%C3%BC"),
        ("unix:///run/tokctl.sock", "unix:/run/tokctl.sock"),
        ("unix:/run/tokctl.sock", "unix:/run/tokctl.sock"),
    ],
)
def test_urls(url, shown):
    assert check_url(url) == shown


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "empty"), ("localhost:27555", "http://localhost:27555"), ("engine.example.org", "scheme"),
        ("ftp://h", "neither"), ("file:///etc/passwd", "neither"), ("http://", "host"), ("http://:80", "host"),
        ("http:///x", "host"), ("http://h:0", "port"), ("http://h:65536", "port"), ("http://h:port", "port"),
        ("http://[::1", "host"), ("http://h?x=1", "query"), ("http://h/#x", "fragment"), ("http://h/a b", "blank"),
        ("http://h\n/x", "blank"), ("http://h\\x", "backslash"), ("http://h/\x00", "control"), ("unix://", "socket"),
    ],
)  # fmt: skip
def test_what_is_no_url(url, word):
    with pytest.raises(UsageError, match=word) as caught:
        check_url(url)
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError):
        Client(Connection(url))


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@h", "https://hunter2@h/x", "http://me:hunter2/@h:1", "me:hunter2@h", "ftp://x:hunter2@h",
            "http://me:hunter2@h:port", "http://me:hunter2@h?x", "http://me:hunter2@"],
)  # fmt: skip
def test_a_password_in_a_url_is_refused_and_not_shown(url):
    with pytest.raises(UsageError) as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Connection(url))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("localhost.example.org", False), ("127.0.0.1.example.org", False), ("10.0.0.1", False), ("::2", False),
        ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_what_is_on_this_machine(host, local):
    assert is_loopback(host) is local


def test_a_query_is_not_repeated_as_a_secret_may_stand_in_it():
    with pytest.raises(UsageError, match="has a query") as caught:
        parse_url("http://engine.example/?key=s3cret")
    assert "s3cret" not in str(caught.value)
