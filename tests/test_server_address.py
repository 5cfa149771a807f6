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
        ("http://[0:0::0:1]", "http://[::1]"),
        ("http://[2001:DB8::A]:80/", "http://[2001:db8::a]:80"),
        ("http://[::ffff:1.2.3.4]", "http://[::ffff:1.2.3.4]"),
        ("http://[FE80::1%eth0]:8080", "http://[fe80::1%eth0]:8080"),
        ("https://[fe80::1%25Eth0]/x", "https://[fe80::1%Eth0]/x"),
        ("http://[fe80::1%25251]", "http://[fe80::1%25251]"),  # the interface 251
        (" 'http://h/x/' ", "http://h/x"),
        ('"http://h"\n', "http://h"),
        ("<http://h/>", "http://h"),
        ("\u201chttp://h\u201d", "http://h"),
        ("http://h/a%2Fb/c d".replace(" ", "%20"), "http://h/a%2Fb/c%20d"),
        ("http://h/ü", "http://h/%C3%BC"),
        ("unix:///run/tokctl.sock", "unix:/run/tokctl.sock"),
        ("unix:/run/tokctl.sock", "unix:/run/tokctl.sock"),
    ],
)
def test_urls(url, shown):
    assert check_url(url) == shown
    assert parse_url(parse_url(url).url) == parse_url(url)


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
        ("http://[::1]x", "host"),
        ("http://x[::1]", "host"),
        ("http://[v1.x]", "host"),
        ("http://[1.2.3.4]", "host"),
        ("http://[fe80::1%]", "host"),
        ("http://[fe80::1%a%b]", "host"),
        ("http://::1:8080", "without brackets"),
        ("http://2001:db8::1/x", "without brackets"),
        ("[::1]:8080/x", r"Use http://\[::1\]:8080/x or https"),
        ("::1", r"Use http://\[::1\] or https://\[::1\]\. .* http://\[::1\]:8080"),
        ("fe80::1%eth0/x", r"Use http://\[fe80::1%eth0\]/x or"),
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


@pytest.mark.parametrize(
    ("url", "use"),
    [
        ("http://h/?key=s3cret", "Use http://h."),
        ("http://h/engine-rest/task?key=s3cret&x=http://y", "Use http://h/engine-rest/task."),
        ("http://h/camunda/app/cockpit/default/#/s3cret?x", "Use http://h/camunda/app/cockpit/default."),
        ("h:8080/x?key=s3cret", "Use http://h:8080/x or https://h:8080/x."),
        ("http://h:port?key=s3cret", "port"),
        ("gopher://h?key=s3cret", "neither"),
        ("http://me:s3cret@h:1/x/", "Use http://h:1/x, and set the credential with"),
        ("http://me:s3cret@[::1]:1/x?y", "Use http://[::1]:1/x, and set the credential with"),
        ("http://s3cret@h", "Use http://h, and"),
        ("http://me:a@s3cret@h", "Use http://h, and"),
        ("http://me:a/s3cret@h", "port"),
        ("http://me:1/s3cret@h?x", "Write it as"),  # what is the host, and what the password?
        ("http://me:s3cret@::1", "Remove it"),
    ],
)
def test_the_address_to_use_is_told_without_what_may_be_secret(url, use):
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert use in str(caught.value)
    assert "s3cret" not in str(caught.value)
    if use.startswith("Use http://h") and " or " not in use:
        parse_url(use.removeprefix("Use ").rstrip(".").partition(", ")[0])
