"""The address of a server: what is a base URL, what is not, and what of it is shown."""

from __future__ import annotations

import pytest

from tokctl.client import Client, Connection
from tokctl.errors import UsageError
from tokctl.server_address import check_url, is_loopback, parse_url


def test_a_secret_for_a_url_is_not_repeated():
    for text in ("xvc_hunter2hunter2", "http://xvc_hunter2hunter2", "https://h/xvc_hunter2hunter2"):
        with pytest.raises(UsageError, match="contains a secret") as caught:
            parse_url(text)
        assert "hunter2" not in str(caught.value)


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
        ("", "empty"),
        ("localhost:27555", "http://localhost:27555"),
        ("engine.example.org", "scheme"),
        ("ftp://h", "neither"),
        ("file:///etc/passwd", "neither"),
        ("http://", "host"),
        ("http://:80", "host"),
        ("http:///x", "host"),
        ("http://h:0", "port"),
        ("http://h:65536", "port"),
        ("http://h:port", "port"),
        ("http://[::1", "host"),
        ("http://h?x=1", "query"),
        ("http://h/#x", "fragment"),
        ("http://h/a b", "space"),
        ("http://h\n/x", "space"),
        ("http://h\\x", "backslash"),
        ("http://h/\x00", "control"),
        ("unix://", "socket"),
    ],
)
def test_what_is_no_url(url, word):
    with pytest.raises(UsageError, match=word) as caught:
        check_url(url)
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError):
        Client(Connection(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@h",
        "https://hunter2@h/x",
        "http://me:hunter2/@h:1",
        "me:hunter2@h",
        "ftp://x:hunter2@h",
        "http://me:hunter2@h:port",
        "http://me:hunter2@h?x",
        "http://me:hunter2@",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(url):
    with pytest.raises(UsageError) as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Connection(url))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("0.0.0.0", False),
    ],
)
def test_what_is_on_this_machine(host, local):
    assert is_loopback(host) is local


def test_a_query_is_not_repeated_as_a_secret_may_stand_in_it():
    with pytest.raises(UsageError, match="has a query") as caught:
        parse_url("http://engine.example/?key=s3cret")
    assert "s3cret" not in str(caught.value)
