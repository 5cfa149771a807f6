"""TLS with real certificates: right, wrong name, expired, too early, unknown authority, none at all."""

from __future__ import annotations

import os
import ssl
import warnings
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from support import faulty_server
from support.calling import SECRET
from tokctl.errors import InputError, NotAllowedError, NotFoundError, TokctlError, UntrustedError

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


def test_the_platforms_certificates_are_those_that_openssl_finds(calls, right, ca_file, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with faulty_server.serving(faulty_server.good(), tls=right) as server:
        assert calls(server.url).get(("x",)).status == 200
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    from tokctl.client.transport import create_ssl_context

    assert create_ssl_context(None, insecure=False).cert_store_stats()["x509_ca"] > 0  # certifi's
    assert "unknown authority" in untrusted(calls, right)


@pytest.mark.parametrize("names", [("127.0.0.1",), ("example.org",)])
def test_insecure_warns_once_a_run(calls, names):
    with faulty_server.serving(faulty_server.good(), tls=secured(trustme.CA(), *names)) as server:
        client = calls(server.url, insecure=True)
        for _ in range(2):
            assert client.get(("x",)).status == 200
    (warning,) = calls.warnings
    assert "not verified" in warning


def test_a_server_without_tls(calls):
    said = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with faulty_server.serving(faulty_server.good(), greeting=said) as server, pytest.raises(TokctlError) as caught:
        calls(f"https://127.0.0.1:{server.port}").get(("x",))
    assert isinstance(caught.value, UntrustedError)
    assert "does not speak TLS" in str(caught.value)


def test_tls_where_none_is_expected(calls, right):
    with faulty_server.serving(faulty_server.good(), tls=right) as server, pytest.raises(TokctlError) as caught:
        calls(f"http://127.0.0.1:{server.port}", retries=0).get(("x",))
    assert caught.value.exit_code == 5


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
