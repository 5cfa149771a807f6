"""How a server starts, runs and stops: sockets, certificates, workers, signals, the log."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme

from support.running_server import (
    LARGE,
    PEPPER,
    SMALL,
    Served,
    make_secret,
    make_store,
    multiply,
    path_of,
    refused,
    serving,
)
from tokctl.store import open_store

TOKENS = path_of("processes", SMALL, "tokens")


def last_used(store, name):
    with open_store(str(store)) as opened:
        return next(one.last_used_at for one in opened.api_tokens.list() if one.name == name)


# --- where it listens ---


def test_the_configuration_applies_where_the_command_line_is_silent(own, tmp_path):
    store, secret = own
    config = tmp_path / "config.yaml"
    config.write_text(f"serve: {{access_log: '{tmp_path}/requests.log', port: 1, store: {store}}}", encoding="utf-8")
    with serving(store, env={"TOKCTL_CONFIG": str(config)}) as served:  # the port comes from the command line
        assert served.get(TOKENS, secret).status_code == 200
        served.end()
    (line,) = (tmp_path / "requests.log").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["status"] == 200


def test_tls(own, tmp_path):
    store, secret = own
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"), "--host", "0.0.0.0"]
    with serving(store, *options, verify=context) as served:
        port = served.address[1]
        assert served.url.startswith("https://0.0.0.0:")
        for _ in range(2):
            answer = served.client.get(
                f"https://localhost:{port}{path_of('processes', LARGE, 'tokens')}", headers={"X-API-Key": secret}
            )
            assert len(answer.json()["data"]["tokens"]) == 1500
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}{TOKENS}", headers={"X-API-Key": secret})
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", port)) as raw, old.wrap_socket(raw):
            pass
        assert served.end() == 0


def test_a_unix_socket(own, tmp_path):
    store, secret = own
    path = tmp_path / "tokctl.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))  # left by a killed server
    left.close()
    served = Served(store, "--unix", str(path), transport=httpx.HTTPTransport(uds=str(path)))
    try:
        assert served.lines[0].startswith(f"Listening on unix:{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        answer = served.get(TOKENS, secret)
        assert answer.status_code == 200
        assert served.log(answer.headers["x-request-id"])[0]["client"] == "unix"
        refused(store, "--unix", path, code=2, match="another process already listens on")
        assert served.get(TOKENS, secret).status_code == 200
    finally:
        assert served.end() == 0
    assert not path.exists()


# --- how it stops ---


def children(served) -> list[int]:
    """Return the child processes of a server."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(served.process.pid)], check=True, capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split()]


@pytest.fixture(scope="module")
def drained(tmp_path_factory):
    """A store with an instance that takes a while to read, and a secret."""
    store = make_store(tmp_path_factory.mktemp("drained") / "drained.db")
    multiply(store, "big", 7500)
    return store, make_secret(store, "own", "*")[0]


@pytest.mark.parametrize(
    ("workers", "orders"),
    [
        (1, [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGHUP, False)]),
        (2, [(signal.SIGTERM, True), (signal.SIGINT, False), (signal.SIGHUP, False)]),
    ],
)
def test_requests_under_way_are_finished(drained, workers, orders):
    """A terminal and systemd signal every process, so each worker gets the signal twice."""
    with ThreadPoolExecutor(len(orders)) as threads:
        for done in [threads.submit(end_under_way, *drained, workers, *order) for order in orders]:
            done.result()


def end_under_way(store, secret, workers, number, to_all):
    with serving(store, "--workers", str(workers)) as served:
        found, begun = [], threading.Barrier(4)

        def read():
            with (
                httpx.Client(base_url=served.url, timeout=30, verify=False, headers={"X-API-Key": secret}) as client,
                client.stream("GET", path_of("processes", "big", "tokens")) as answer,
            ):
                pieces = []
                for piece in answer.iter_bytes(20_000):
                    if not pieces:
                        begun.wait(20)
                    pieces.append(piece)
                    time.sleep(0.005)
                found.append(len(json.loads(b"".join(pieces))["data"]["tokens"]))

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait(20)
        for pid in children(served) if to_all else []:
            os.kill(pid, number)
        time.sleep(0.02 if to_all else 0)
        assert served.end(number) == 0
        for thread in threads:
            thread.join()
        assert found == [7500] * 3
        with pytest.raises(httpx.ConnectError):
            httpx.get(served.url)
    assert not [line for line in served.lines if "Traceback" in line or "fault" in line]


def test_requests_during_shutdown_are_answered_or_refused_never_broken(own):
    store, secret = own
    with serving(store) as served:
        outcomes, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    with httpx.Client(base_url=served.url, timeout=10, verify=False) as client:
                        headers = {"X-API-Key": secret}
                        outcomes.extend(client.get(TOKENS, headers=headers).status_code for _ in range(20))
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                    outcomes.append(type(error).__name__)
                    if isinstance(error, httpx.ConnectError):
                        return

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(outcomes) < 300:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert served.end() == 0
        stop.set()
        for thread in threads:
            thread.join()
    statuses = {one for one in outcomes if isinstance(one, int)}
    assert statuses == {200}
    broken = [one for one in outcomes if one in {"RemoteProtocolError", "ReadError"}]
    assert len(broken) <= 8  # kept connections that were closed between two requests


@pytest.mark.parametrize("workers", [1, 2])
def test_no_use_is_lost_at_shutdown(own, workers):
    store, secret = own
    assert last_used(store, "own") is None
    with serving(store, "--workers", str(workers)) as served:
        began = time.time()
        for _ in range(5):
            assert served.get(TOKENS, secret).status_code == 200
        assert served.end() == 0
    assert began - 1 < last_used(store, "own").timestamp() < time.time() + 1


# --- several workers ---


def test_workers_share_socket_and_metrics_and_are_replaced(own):
    store, secret = own
    with serving(store, "--workers", "2") as served:
        assert "with 2 workers" in served.lines[0]
        for _ in range(40):
            with httpx.Client(base_url=served.url, verify=False) as client:
                assert client.get(TOKENS, headers={"X-API-Key": secret}).status_code == 200
        time.sleep(1.2)
        text = served.get("/metrics", secret).text
        line = next(line for line in text.splitlines() if 'status="200"' in line and '/tokens"' in line)
        assert float(line.rpartition(" ")[2]) == 40
        before = children(served)
        assert len(before) == 2
        time.sleep(1)
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + 15
        while len(now := children(served)) < 2 or before[0] in now:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(10):
            with httpx.Client(base_url=served.url, verify=False) as client:
                assert client.get(TOKENS, headers={"X-API-Key": secret}).status_code == 200
        assert served.end() == 0


def test_workers_do_not_outlive_their_parent(own, tmp_path):
    store, secret = own
    (tmp_path / "temporary").mkdir()
    with serving(store, "--workers", "2", env={"TMPDIR": str(tmp_path / "temporary")}) as served:
        assert served.get(TOKENS, secret).status_code == 200
        served.process.kill()
        deadline = time.monotonic() + 15
        while True:
            try:
                httpx.get(f"{served.url}/health", timeout=2, verify=False)
            except httpx.HTTPError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    while any((tmp_path / "temporary").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_metrics_of_another_program_are_left_alone(own, tmp_path):
    store, secret = own
    elsewhere = {name: str(tmp_path / "none") for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")}
    with serving(store, env=elsewhere) as served:
        assert served.get("/metrics", secret).status_code == 200


# --- messages and arguments ---


def test_a_server_without_valid_tokens_prints_a_warning(tmp_path):
    with open_store(str(tmp_path / "none.db"), write=True, create=True):
        pass
    for store, pepper, said in (
        (tmp_path / "none.db", PEPPER, "the store has no API token"),
        (make_store(tmp_path / "own.db"), "another pepper, as long as need be", "another pepper"),
    ):
        make_secret(store, "own", "*") if pepper != PEPPER else None
        with serving(store, env={"TOKCTL_PEPPER": pepper}) as served:
            assert served.get("/health").status_code == 200
            assert served.end() == 0  # then all of its lines have been read
            assert said in served.lines[1]


def test_process_arguments_contain_no_secret(served, secrets):
    line = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
    assert PEPPER.encode() not in line
    assert b"xvc_" not in line


def test_a_read_only_server_writes_nothing(own):
    store, _ = own
    secret, number = make_secret(store, "manager", "*", type_="full-access")
    with open_store(str(store)) as opened:
        before = opened.revisions()
    with serving(store, "--read-only") as served:
        assert served.get(TOKENS, secret).status_code == 200
        headers = {"X-API-Key": secret}
        for method, path in (("POST", ""), ("PUT", f"/{number}"), ("DELETE", f"/{number}")):
            answer = served.client.request(method, f"/api/api-tokens{path}", headers=headers, json={"name": "n"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "read-only" in answer.json()["error"]["message"]
        introspection = served.client.post("/api/api-tokens/introspect", headers=headers, data={"token": secret})
        assert introspection.status_code == 200
        assert served.end() == 0
    assert last_used(store, "manager") is None
    with open_store(str(store)) as opened:
        assert opened.revisions() == before
