"""Proxies that the environment names: a real little one stands between the client and the server."""

from __future__ import annotations

import base64
import ssl

import pytest
import trustme

from support import faulty_server
from support.calling import SECRET
from tokctl.client.transport import proxy_for
from tokctl.errors import NotAllowedError, UnreachableError, UsageError
from tokctl.server_address import parse_url

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
            with pytest.raises(NotAllowedError, match="proxy requires a password") as caught:
                calls(url).get(("x",))
            assert "wrong" not in str(caught.value)
            assert str(proxy.port) in str(caught.value)
            monkeypatch.setenv("http_proxy", f"http://me:wrong@127.0.0.1:{proxy.port}")


def test_a_proxy_that_is_not_there(calls, monkeypatch):
    port = faulty_server.unused_port()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(UnreachableError, match=f"through the proxy http://127.0.0.1:{port}"):
        calls(SECURE).get(("x",))


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
    ],
)
def test_no_proxy(calls, monkeypatch, url, exceptions, asked):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    assert (proxy_for(parse_url(url)) is not None) is asked


@pytest.mark.parametrize("url", ["socks5://me:hunter2@h:1", "http://me:hunter2@[", "http://me:hunter2@h:x", "http://"])
def test_what_is_no_proxy(calls, monkeypatch, url):
    monkeypatch.setenv("http_proxy", url)
    with pytest.raises(UsageError, match="proxy") as caught:
        calls(PLAIN).get(("x",))
    assert "hunter2" not in str(caught.value)


def test_the_password_of_a_proxy_is_not_shown(calls, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:hunter2@proxy.invalid")
    assert "hunter2" not in repr(proxy_for(parse_url(PLAIN)))
