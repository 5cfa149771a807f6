"""Which certificates are trusted: the option, the variables of other programs, or the platform's."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from itertools import combinations

import pytest
import trustme

from support import faulty_server
from tokctl.client.certificates import create_ssl_context, describe_trust
from tokctl.errors import InputError, NotFoundError, TokctlError, UntrustedError
from tokctl.verbose_log import set_listener

ORDER = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """Two files: the one with the authority of the server, and one with another."""
    folder = tmp_path_factory.mktemp("ca")
    authority.cert_pem.write_to_path(folder / "right.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    return str(folder / "right.pem"), str(folder / "other.pem")


@pytest.mark.parametrize("variable", ORDER)
def test_a_variable_names_a_file(calls, monkeypatch, tls, files, variable):
    right, other = files
    messages: list[str] = []
    set_listener(messages.append)
    try:
        with faulty_server.serving(faulty_server.good(), tls=tls) as server:
            monkeypatch.setenv(variable, right)
            assert calls(server.url).get(("x",)).status == 200
            monkeypatch.setenv(variable, other)
            with pytest.raises(UntrustedError, match="unknown authority") as caught:
                calls(server.url).get(("x",))
            assert f"Trusted are {other} ({variable})." in caught.value.hint
            assert calls(server.url, ca_file=right).get(("x",)).status == 200
    finally:
        set_listener(None)
    assert [one for one in messages if one.startswith("trusted certificates")] == [
        f"trusted certificates: {right} ({variable})",
        f"trusted certificates: {other} ({variable})",
        f"trusted certificates: {right} (--ca-file)",
    ]


def test_the_first_that_is_set_counts(calls, monkeypatch, files):
    right, other = files
    for first, second in combinations(ORDER, 2):
        with monkeypatch.context() as patch:
            patch.setenv(first, right)
            patch.setenv(second, other)
            patch.setenv("SSL_CERT_DIR", "/nowhere")
            assert describe_trust(None).startswith(f"{right} ({first})")
            assert describe_trust(other) == f"{other} (--ca-file)"
    assert describe_trust(None) == "those of this platform"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which computes the hash of a subject")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_directory_of_certificates(calls, monkeypatch, tls, files, tmp_path, variable):
    right, other = files
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", right]
    name = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    shutil.copy(right, tmp_path / f"{name}.0")
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", other)  # beside SSL_CERT_DIR it counts, too
    with faulty_server.serving(faulty_server.good(), tls=tls) as server:
        assert calls(server.url).get(("x",)).status == 200


def test_certifis_are_used_where_the_platform_has_none(calls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", "")
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 0
    assert create_ssl_context(None, insecure=False).cert_store_stats()["x509_ca"] > 0


@pytest.mark.parametrize("variable", [*ORDER, "SSL_CERT_DIR"])
def test_a_place_that_is_missing_or_broken(calls, monkeypatch, tmp_path, variable):
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    places = {str(tmp_path / "gone"): NotFoundError}
    if variable != "SSL_CERT_DIR":
        places[str(broken)] = InputError
    if variable == "SSL_CERT_FILE":
        places[str(tmp_path)] = InputError
    for place, kind in places.items():
        monkeypatch.setenv(variable, place)
        with pytest.raises(TokctlError) as caught:
            calls("https://127.0.0.1:1").get(("x",))
        assert isinstance(caught.value, kind)
        assert f"{place} ({variable})" in caught.value.message
        assert f"Set {variable} to " in caught.value.hint
        assert "\n" not in str(caught.value)
        create_ssl_context(None, insecure=True)


def test_one_of_several_directories_is_enough(calls, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join([str(tmp_path / "gone"), str(tmp_path)]))
    create_ssl_context(None, insecure=False)
