"""Paths, queries and hosts as they are sent: an id stays one segment of the path, whatever it holds."""

from __future__ import annotations

import re
import ssl
import sys
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from support import faulty_server
from support.examples import scaled
from tokctl.client import Client, Connection
from tokctl.client.session import build_target
from tokctl.errors import UnreachableError, UsageError
from tokctl.server_address import parse_url

BASE = parse_url("http://h")
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
nasty = st.lists(
    st.sampled_from(["/", "..", ".", "?", "#", "%", "%2F", "%00", "\\", "+", " ", "&", "é", "漢", "\n"]), min_size=1
).map("".join)


@given(st.lists(st.one_of(text, nasty), min_size=1, max_size=4))
def test_each_segment_stays_one(segments):
    path = build_target(BASE, segments, {})
    assert path.isascii()
    assert path.isprintable()
    assert " " not in path
    sent = path.split("/")[1:]
    assert [unquote(one, errors="strict") for one in sent] == segments
    assert not {".", "..", ""} & set(sent)
    assert not set("?#\\") & set(path)


@given(st.dictionaries(text, st.one_of(text, st.lists(text, min_size=1, max_size=3)), min_size=1, max_size=3))
def test_a_query_says_what_was_given(params):
    path, _, query = build_target(BASE, ["x"], params).partition("?")
    assert path == "/x"
    pairs = [(name, one) for name, given in params.items() for one in ([given] if isinstance(given, str) else given)]
    assert parse_qsl(query, keep_blank_values=True, strict_parsing=True) == pairs


IDS = [
    "a/b",
    "..",
    ".",
    "../../etc",
    "a?b=c",
    "a#b",
    "%00",
    "%2e%2e",
    "a%2Fb",
    "a b",
    "a+b",
    "ü/漢",
    "\U0001f600",
    "a\\b",
    "\r\nX-Evil: 1",
    "\x1b[31m",
    "x" * 100_000,
    "/" * 33_000,
    "http://elsewhere/x",
    "//elsewhere",
    ":@",
    "~a-_.b",
]


def test_the_server_sees_exactly_the_segment(calls):
    with faulty_server.serving(faulty_server.good()) as server:
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


@settings(max_examples=scaled(0.3))
@given(st.one_of(text, nasty))
def test_the_server_sees_any_segment(name):
    with faulty_server.serving(faulty_server.good()) as server, Client(Connection(server.url)) as client:
        client.get((name,))
        assert unquote_to_bytes(server.targets[0][1:]).decode() == name


@pytest.mark.parametrize("name", ["", "\0", "a\0b", "\udcff", "x\ud800"])
def test_what_no_server_can_have_is_not_asked_for(calls, name):
    with faulty_server.serving(faulty_server.good()) as server:
        with pytest.raises(UsageError) as caught:
            calls(server.url).get(("processes", name))
        assert server.connections == 0
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError):
        build_target(BASE, ["x"], {"state": "\udcff"})


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://bücher.example", "xn--bcher-kva.example"),
        ("http://faß.example:8080", "xn--fa-hia.example:8080"),
        ("http://h:80", "h"),
        ("http://h:443", "h:443"),
        ("http://[fd00::1]:81", "[fd00::1]:81"),
    ],
)
def test_a_host_is_sent_in_ascii_with_its_port_unless_it_is_the_default(calls, monkeypatch, url, sent):
    with faulty_server.serving(faulty_server.good()) as proxy:  # it answers as the server would
        monkeypatch.setenv("http_proxy", proxy.url)
        assert calls(url).get(("x",)).status == 200
        assert proxy.seen[0].headers["host"] == sent
        assert proxy.targets[0].isascii()


def test_a_host_that_dns_cannot_carry_is_refused():
    with pytest.raises(UsageError, match="host name"):
        Client(Connection("http://ü" + "a" * 63 + ".example", retries=0)).get(("x",))


# --- IPv6 -------------------------------------------------------------------------------------------

needs_ipv6 = pytest.mark.skipif(not faulty_server.has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
def test_an_ipv6_address(calls, tmp_path):
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("::1").configure_cert(tls)
    for options in ({}, {"tls": tls}):
        with faulty_server.serving(faulty_server.good(), host="::1", **options) as server:
            answer = calls(server.url, ca_file=str(tmp_path / "ca.pem")).get(("x",))
            assert answer.url == f"{server.scheme}://[::1]:{server.port}/x"
            assert server.seen[0].headers["host"] == f"[::1]:{server.port}"
        with pytest.raises(UnreachableError, match=re.escape(f"cannot reach {server.url}: connection refused")):
            calls(server.url, retries=0).get(("x",))
    assert calls.warnings == []


@needs_ipv6
@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no zone in ::1")
def test_a_zone_is_for_this_machine_only(calls, tmp_path):
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("::1").configure_cert(tls)
    with faulty_server.serving(faulty_server.good(), host="::1", tls=tls) as server:
        client = calls(f"https://[::1%251]:{server.port}", ca_file=str(tmp_path / "ca.pem"))
        assert client.get(("x",)).url == f"https://[::1%1]:{server.port}/x"
        assert server.seen[0].headers["host"] == f"[::1]:{server.port}"


@needs_ipv6
def test_an_interface_that_does_not_exist(calls):
    with pytest.raises(UnreachableError, match=r"http://\[fe80::1%no-such0\]:1: unknown address or network interface"):
        calls("http://[fe80::1%no-such0]:1", retries=0).get(("x",))
