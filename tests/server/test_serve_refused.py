"""Servers that cannot start: one line, and the right exit code."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from support.commandline import clean_environment
from support.running_server import ENVIRONMENT, refused


def all_refused(store, *cases):
    """Run servers that cannot start, two at a time: (options, arguments of ``refused``) of each."""
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(refused, store, *options, **told) for options, told in cases]:
            done.result()


def test_a_missing_store(tmp_path):
    refused(tmp_path / "none.db", "--port", 0, code=6, match="no store found at")
    assert not (tmp_path / "none.db").exists()


def test_unusable_options(served, served_store, tmp_path):
    host, port = served.address
    log, free = ("--access-log", tmp_path / "none" / "log"), ("--port", 0)
    (tmp_path / "file").write_text("", encoding="ascii")
    elsewhere = {"TOKCTL_PEPPER": "", "TOKCTL_PEPPER_FILE": str(tmp_path / "pepper")}
    all_refused(
        served_store,
        (("--port", port), {"code": 2, "match": f"another process already listens on {host}, port {port}"}),
        (("--host", "198.51.100.77", "--insecure-http"), {"code": 2, "match": "cannot listen on 198.51.100.77"}),
        (("--host", "no.such.host.invalid", "--insecure-http"), {"code": 2, "match": "is not an address"}),
        *(
            (("--host", open_to_all), {"code": 2, "match": "without TLS would send API tokens unencrypted"})
            for open_to_all in ("0.0.0.0", "::", "192.0.2.1")
        ),
        (("--trusted-proxy", "here", *free), {"code": 2, "match": "is not a network"}),
        ((*log, *free), {"code": 2, "match": "cannot write"}),
        ((*log, *free, "--workers", 2), {"code": 2, "match": "cannot write"}),
        (free, {"env": {"TOKCTL_PEPPER": "short"}, "code": 7, "match": "too short"}),
        (free, {"env": elsewhere, "code": 3, "match": "Copy the pepper of the store"}),
        (("--unix", tmp_path / "file"), {"code": 2, "match": "is not a socket"}),
        (("--unix", tmp_path / ("x" * 200)), {"code": 2, "match": "too long"}),
    )


def test_unusable_certificates(served_store, tmp_path):
    authority, names = trustme.CA(), []
    for number in range(2):
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(tmp_path / f"key{number}.pem")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"cert{number}.pem")
        names.append((tmp_path / f"cert{number}.pem", tmp_path / f"key{number}.pem"))
    (cert, key), (_, other) = names
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:x", "-in", key, "-out", tmp_path / "locked.pem"],
        check=False,
        capture_output=True,
    )
    if not (tmp_path / "locked.pem").exists() or not (tmp_path / "locked.pem").read_bytes():
        subprocess.run(
            ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", key, "-out", tmp_path / "locked.pem"],
            check=True,
            capture_output=True,
        )
    all_refused(
        served_store,
        *(
            (
                ("--port", 0, "--tls-cert", cert_file, *(["--tls-key", key_file] if key_file else [])),
                {"code": code, "match": match},
            )
            for cert_file, key_file, code, match in (
                (cert, None, 2, "must be used together"),
                (cert, other, 7, "does not belong to the certificate"),
                (cert, tmp_path / "none.pem", 3, "does not exist"),
                (key, key, 7, "are not a certificate and a private key"),
                (cert, tmp_path / "locked.pem", 7, "is encrypted"),
            )
        ),
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("serve: {prot: 1}", "port"),
        ("serve: {port: high}", "port"),
        ("serve: {limits: {body: -1}}", "body"),
        ("serve: {limits: {bodi: 1}}", "body"),
    ],
)
def test_invalid_configurations(served_store, tmp_path, text, match):
    config = tmp_path / "config.yaml"
    config.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tokctl", "serve", "--store", str(served_store), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(ENVIRONMENT | {"TOKCTL_CONFIG": str(config)}),
    )
    assert done.returncode in {2, 7}
    assert match in done.stderr
    assert done.stderr.count("\n") == 1
