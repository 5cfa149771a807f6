"""TLS with real certificates: right, wrong name, expired, too early, unknown authority, none at all."""

from __future__ import annotations

import os
import socket
import ssl
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from support import faulty_server
from support.calling import SECRET
from tokctl.client.connection_failures import Route
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError, UnreachableError, UntrustedError
from tokctl.server_address import parse_url

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def secured(authority, *names, **dates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names, **dates).configure_cert(context)
    return context


@pytest.fixture
def right(authority):
    return secured(authority, "127.0.0.1", "localhost")


def test_a_certificate_that_holds(calls, right, ca_file):
    with faulty_server.serving(faulty_server.good(), tls=right) as server:
        client = calls(server.url, ca_file=ca_file)
        for _ in range(3):
            assert client.get(("x",)).body == faulty_server.GOOD
        assert server.connections == 1
        assert server.seen[0].headers["x-api-key"] == SECRET
    assert calls.warnings == []


def untrusted(calls, tls, **options) -> str:
    """What is said of such a server, which learns nothing."""
    with faulty_server.serving(faulty_server.good(), tls=tls) as server:
        with pytest.raises(UntrustedError) as caught:
            calls(server.url, **options).get(("x",))
        assert server.seen == []
        assert server.connections == 1  # waiting does not mend it
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_certificate_for_another_name(calls, authority, ca_file):
    assert "another host name" in untrusted(calls, secured(authority, "example.org"), ca_file=ca_file)
    assert "another host name" in untrusted(calls, secured(authority, "127.0.0.2"), ca_file=ca_file)


def test_a_certificate_out_of_its_time(calls, authority, ca_file):
    old = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}
    early = {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=9)}
    assert "the server's certificate has expired" in untrusted(
        calls, secured(authority, "127.0.0.1", **old), ca_file=ca_file
    )
    assert "the server's certificate is not valid yet" in untrusted(
        calls, secured(authority, "127.0.0.1", **early), ca_file=ca_file
    )


def test_a_certificate_of_nobody_we_know(calls, right, tmp_path):
    assert "unknown authority" in untrusted(calls, right)
    assert "--ca-file" in untrusted(calls, right)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    assert "unknown authority" in untrusted(calls, right, ca_file=str(tmp_path / "other.pem"))


@pytest.mark.parametrize("names", [("127.0.0.1",), ("example.org",)])
def test_insecure_warns_once_a_run(calls, names):
    with faulty_server.serving(faulty_server.good(), tls=secured(trustme.CA(), *names)) as server:
        client = calls(server.url, insecure=True)
        for _ in range(2):
            assert client.get(("x",)).status == 200
    (warning,) = calls.warnings
    assert "not verified" in warning


# --- the other scheme -------------------------------------------------------------------------------


def test_a_server_without_tls(calls):
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"<!DOCTYPE HTML>\n<html><title>Error response</title>"):
        with faulty_server.serving(faulty_server.good(), greeting=answer) as server:
            with pytest.raises(UntrustedError, match="does not speak TLS") as caught:
                calls(f"https://127.0.0.1:{server.port}/x").get(("x",))
            assert f"use http://127.0.0.1:{server.port}/x if" in caught.value.hint
    assert calls.waits == []


def test_a_server_without_tls_that_answers_nothing(calls):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def close_after_the_hello() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(close_after_the_hello)
            with pytest.raises(UnreachableError, match="closed the connection") as caught:
                calls(f"https://127.0.0.1:{port}", retries=0).get(("x",))
    assert caught.value.hint == f"If the server does not use TLS, use http://127.0.0.1:{port}."


PLAIN_HTTP_REFUSED = {
    "nginx": "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
    "Apache": "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br /></p>",
    "Go": "Client sent an HTTP request to an HTTPS server.\n",
    "Tomcat": "Bad Request\r\nThis combination of host and port requires TLS.\r\n",
}


@pytest.mark.parametrize("accept", [(), (400,)])
@pytest.mark.parametrize("name", [*PLAIN_HTTP_REFUSED, "alert"])
def test_tls_where_none_is_expected(calls, name, accept):
    answer = faulty_server.raw(b"\x15\x03\x01\x00\x02\x02\x46")  # alert, protocol_version
    if name in PLAIN_HTTP_REFUSED:
        answer = faulty_server.good(PLAIN_HTTP_REFUSED[name].encode(), 400, kind="text/html")
    with faulty_server.serving(answer) as server:
        client = calls(f"{server.url}/x")
        for request in (lambda: client.get(("x",), accept=accept), lambda: client.post(("x",), {}, accept=accept)):
            with pytest.raises(UntrustedError, match="expects TLS") as caught:
                request()
            assert caught.value.hint == f"Use https://127.0.0.1:{server.port}/x."
    assert calls.waits == []


def test_a_bad_request_is_not_taken_for_one_without_tls(calls):
    with faulty_server.serving(faulty_server.page(400)) as server:
        assert calls(server.url).get(("x",), accept=(400,)).status == 400


def test_tls_that_just_ends_the_connection(calls, right):
    with faulty_server.serving(faulty_server.good(), tls=right) as server:
        with pytest.raises(TokctlError) as caught:
            calls(f"http://127.0.0.1:{server.port}", retries=0).get(("x",))
        assert f"https://127.0.0.1:{server.port}." in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("url", "scheme", "other"),
    [
        ("http://h", "https", "https://h:80"),
        ("http://h:443/x", "https", "https://h/x"),
        ("https://h", "http", "http://h:443"),
        ("https://[::1]:8443", "http", "http://[::1]:8443"),
    ],
)
def test_the_same_port_with_the_other_scheme(url, scheme, other):
    assert Route(parse_url(url), None).with_scheme(scheme) == other


def test_a_version_that_is_too_old(calls, authority, ca_file):
    old = secured(authority, "127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert "TLS handshake failed" in untrusted(calls, old, ca_file=ca_file)


# --- the CA file ----------------------------------------------------------------------------------


def said_of(calls, path) -> TokctlError:
    with pytest.raises(TokctlError) as caught:
        calls("https://127.0.0.1:1", ca_file=str(path)).get(("x",))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_ca_file_that_cannot_be_used(calls, tmp_path, ca_file):
    assert isinstance(said_of(calls, tmp_path / "gone.pem"), NotFoundError)
    assert isinstance(said_of(calls, tmp_path), InputError)
    begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
    for number, text in enumerate([b"", b"no certificate", b"\xff\x00" * 99, f"{begin}MIIB{end}".encode()]):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(text)
        assert isinstance(said_of(calls, path), InputError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_ca_file_of_somebody_else(calls, tmp_path):
    path = tmp_path / "ca.pem"
    path.touch(0o000)
    assert isinstance(said_of(calls, path), NotAllowedError)
