"""Proxies that the environment names: a real little one stands between the client and the server."""

from __future__ import annotations

import base64
import ssl

import pytest
import trustme

from support import faulty_server
from support.calling import SECRET
from tokctl.client.proxies import proxy_for
from tokctl.errors import NotAllowedError, TokctlError, UnreachableError, UntrustedError, UsageError
from tokctl.server_address import parse_url
from tokctl.verbose_log import set_listener

# No machine can be reached by these names, so that whatever arrives has come through the proxy.
PLAIN, SECURE = "http://engine.invalid:27555", "https://engine.invalid"


def test_http_goes_through_the_proxy(calls, monkeypatch):
    with (
        faulty_server.serving(faulty_server.good()) as server,
        faulty_server.serving(faulty_server.proxy(server.port)) as proxy,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        assert calls(PLAIN).get(("a/b", ".."), {"x": "1"}).body == faulty_server.GOOD
        assert proxy.targets == [f"{PLAIN}/a%2Fb/%2E%2E?x=1"]
        assert server.seen[0].headers["host"] == "engine.invalid:27555"
        assert server.seen[0].headers["x-api-key"] == SECRET
    assert len(calls.warnings) == 1  # the credential crosses the network as it is


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_https_goes_through_a_tunnel(calls, monkeypatch, tmp_path, name):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("engine.invalid").configure_cert(tls)
    with (
        faulty_server.serving(faulty_server.good(), tls=tls) as server,
        faulty_server.serving(faulty_server.proxy(server.port)) as proxy,
    ):
        monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}" if name == "all_proxy" else proxy.url)
        client = calls(SECURE, ca_file=str(tmp_path / "ca.pem"))
        for _ in range(3):
            assert client.get(("x",)).body == faulty_server.GOOD
        assert [(asked.method, asked.target) for asked in proxy.seen] == [("CONNECT", "engine.invalid:443")]
        assert SECRET not in str(proxy.seen)
        assert server.seen[0].headers["x-api-key"] == SECRET


def test_a_proxy_with_a_password(calls, monkeypatch):
    basic = "Basic " + base64.b64encode(b"me:p@ss").decode()
    behaviour = faulty_server.good()
    with (
        faulty_server.serving(behaviour) as server,
        faulty_server.serving(faulty_server.proxy(server.port, password=basic)) as proxy,
    ):
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("https_proxy", f"http://me:wrong@127.0.0.1:{proxy.port}")
        assert calls(PLAIN).get(("x",)).body == faulty_server.GOOD
        assert "proxy-authorization" in proxy.seen[0].headers
        for url in (SECURE, PLAIN):
            with pytest.raises(NotAllowedError, match=r"the proxy .* rejected the user name or the password") as caught:
                calls(url).get(("x",), accept=(407,))
            assert "wrong" not in str(caught.value)
            assert f"{proxy.url} (http" in str(caught.value)
            monkeypatch.setenv("http_proxy", f"http://me:wrong@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(NotAllowedError, match=f"Set http_proxy to http://USER:PASSWORD@127.0.0.1:{proxy.port}, or"):
            calls(PLAIN).get(("x",))


# --- what is told of a proxy ------------------------------------------------------------------------


def told(calls, url: str, **options) -> TokctlError:
    """Return the error of a request through a proxy: it names the server, and that it could be in NO_PROXY."""
    with pytest.raises(TokctlError) as caught:
        calls(url, **options).get(("x",))
    assert url in caught.value.message
    assert "hunter2" not in str(caught.value)
    assert "add engine.invalid to NO_PROXY" in caught.value.hint
    return caught.value


@pytest.mark.parametrize(("url", "variable"), [(SECURE, "HTTPS_PROXY"), (PLAIN, "HTTP_PROXY"), (PLAIN, "all_proxy")])
def test_a_proxy_that_is_not_there(calls, monkeypatch, url, variable):
    proxy = f"127.0.0.1:{faulty_server.unused_port()}"
    monkeypatch.setenv(variable, f"http://me:hunter2@{proxy}")
    error = told(calls, url)
    assert error.message.startswith(f"cannot reach the proxy http://{proxy} ({variable}) for {url}: connection refused")
    assert f"Check {variable}" in error.hint
    assert isinstance(error, UnreachableError)
    assert len(calls.waits) == 3
    monkeypatch.setenv(variable, "http://proxy.invalid")
    assert f"cannot reach the proxy http://proxy.invalid ({variable}) for" in told(calls, url).message


@pytest.mark.parametrize(
    ("status", "kind", "said", "retries"),
    [
        (403, NotAllowedError, "refuses the connection (403", 0),
        (405, NotAllowedError, "refuses the connection (405", 0),
        (407, NotAllowedError, "requires a user name and a password (407", 0),
        (502, UnreachableError, "cannot connect to the server (502", 3),
        (503, UnreachableError, "cannot connect to the server (503", 3),
        (504, UnreachableError, "cannot connect to the server (504", 3),
    ],
)
def test_a_proxy_that_refuses_a_tunnel(calls, monkeypatch, status, kind, said, retries):
    with faulty_server.serving(faulty_server.page(status)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = told(calls, SECURE)
    assert isinstance(error, kind)
    assert error.message.startswith(f"the proxy {proxy.url} (HTTPS_PROXY) for {SECURE} {said}")
    assert len(calls.waits) == retries


@pytest.mark.parametrize("status", [403, 502, 503, 504])
def test_an_error_that_may_come_from_a_proxy(calls, monkeypatch, status):
    with faulty_server.serving(faulty_server.page(status)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://me:hunter2@"))
        error = told(calls, PLAIN)
        assert f"The response may come from the proxy {proxy.url} (HTTP_PROXY)" in error.hint
    with faulty_server.serving(faulty_server.good(b'{"error":{"code":"X"}}', status)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(TokctlError) as caught:
            calls(PLAIN).get(("x",))
        assert "may come from" not in str(caught.value)  # a proxy sends no JSON


def test_the_scheme_of_a_proxy(calls, monkeypatch):
    """TLS spoken to a proxy without TLS, and the reverse."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with faulty_server.serving(faulty_server.good(), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
        with pytest.raises(
            UntrustedError, match=r"the proxy or the server does not speak TLS.* use http:// in HTTPS_P"
        ):
            calls(SECURE).get(("x",))
    with faulty_server.serving(faulty_server.raw(b"\x15\x03\x03\x00\x02\x02\x46")) as proxy:
        for url in (SECURE, PLAIN):
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            monkeypatch.delenv("HTTPS_PROXY", raising=False)
            with pytest.raises(UntrustedError, match=r"the proxy .* expects TLS. Use https:// in ALL_PROXY"):
                calls(url).get(("x",))


def test_the_certificate_may_be_that_of_the_proxy(calls, monkeypatch):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with faulty_server.serving(faulty_server.good(), tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(UntrustedError, match="the certificate of the server or the proxy is from an unknown"):
            calls(SECURE).get(("x",))


def test_verbose_names_the_proxy(calls, monkeypatch):
    messages: list[str] = []
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@127.0.0.1:9")
    set_listener(messages.append)
    try:
        with pytest.raises(UnreachableError):
            calls(PLAIN, retries=0).get(("x",))
    finally:
        set_listener(None)
    assert f"proxy for {PLAIN}: http://127.0.0.1:9 (HTTP_PROXY)" in messages


def test_an_ipv6_address_has_brackets_for_a_proxy(calls, monkeypatch, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("fd00::1").configure_cert(tls)
    with (
        faulty_server.serving(faulty_server.good(), tls=tls) as server,
        faulty_server.serving(faulty_server.proxy(server.port)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert calls("https://[fd00::1]:8443", ca_file=str(tmp_path / "ca.pem")).get(("x",)).status == 200
        assert proxy.targets == ["[fd00::1]:8443"]
        assert server.seen[0].headers["host"] == "[fd00::1]:8443"
    with faulty_server.serving(faulty_server.good()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        calls("http://[fd00::1]:8080").get(("x",))
        assert proxy.targets == ["http://[fd00::1]:8080/x"]


# --- NO_PROXY ---------------------------------------------------------------------------------------


def test_this_machine_is_not_asked_through_a_proxy(calls, monkeypatch):
    with faulty_server.serving(faulty_server.good()) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert calls(server.url).get(("x",)).status == 200


@pytest.mark.parametrize(
    ("url", "exceptions", "asked"),
    [
        ("http://engine.invalid", "", True),
        ("http://engine.invalid", "*", False),
        ("http://engine.invalid", "engine.invalid", False),
        ("http://engine.invalid", "other,.invalid", False),
        ("http://engine.invalid:81", "engine.invalid:80", True),
        ("http://engine.invalid:81", "engine.invalid:81", False),
        ("http://myengine.invalid", "engine.invalid", True),
        ("http://10.1.2.3", "10.0.0.0/8", False),
        ("http://11.1.2.3", "10.0.0.0/8, 12.0.0.0/8", True),
        ("http://[fd00::1]", "fd00::/8", False),
        ("http://[fd00::1]", "[fd00::1]", False),
        ("http://[fd00::1]", "fd00:0::1", False),
        ("http://[fd00::1]:81", "[fd00::1]:81", False),
        ("http://[fd00::1]:82", "[fd00::1]:81", True),
        ("http://10.1.2.3", "10.1.2.3", False),
        ("http://10.1.2.3:81", "10.1.2.3:81", False),
        ("http://10.1.2.3:82", "10.1.2.3:81", True),
        ("http://10.1.2.3:81", "10.0.0.0/8:81", False),
        ("http://10.1.2.3", "10.1.2", True),
        ("http://10.1.2.3", ".2.3", True),
        ("http://engine.invalid", " * ", False),
        ("http://engine.invalid", "other,*", True),  # as curl
        ("http://invalid", ".invalid", False),  # as curl
        ("http://a.b.invalid", "invalid", False),
        ("http://invalid", "*.invalid", True),
        ("http://a.b.invalid", "*.invalid", False),
        ("http://ainvalid", "*.invalid", True),
        ("http://engine.invalid", "other engine.invalid", False),
        ("http://engine.invalid", "other,,ENGINE.invalid.", False),
        ("http://engine.invalid.", "engine.invalid", False),
        ("http://engine.invalid", "engine.invalid:80", False),
        ("http://engine.invalid", "*.invalid:80", False),
        ("http://engine.invalid:81", ".invalid:80", True),
        ("http://engine.invalid", "engine.invalid:x", True),
        ("http://engine.invalid", "engine", True),
        ("http://engine.invalid", ".,*.,:80,/,[]", True),
        ("http://[fe80::1%eth0]", "", False),  # another machine does not know this interface
    ],
)
def test_no_proxy(calls, monkeypatch, url, exceptions, asked):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    assert (proxy_for(parse_url(url)) is not None) is asked


@pytest.mark.parametrize("url", ["socks5://me:hunter2@h:1", "http://me:hunter2@[", "http://me:hunter2@h:x", "http://"])
def test_what_is_no_proxy(calls, monkeypatch, url):
    monkeypatch.setenv("http_proxy", url)
    with pytest.raises(UsageError, match=r"proxy .* in http_proxy") as caught:
        calls(PLAIN).get(("x",))
    assert "hunter2" not in str(caught.value)


def test_the_password_of_a_proxy_is_not_shown(calls, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:hunter2@proxy.invalid")
    assert "hunter2" not in repr(proxy_for(parse_url(PLAIN)))
