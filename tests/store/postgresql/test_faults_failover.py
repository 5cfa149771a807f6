"""A primary with a replica: what a hot standby can do, and what happens to commands when it takes over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.builders import ndjson, tokens
from support.commandline import clean_environment
from support.database_faults import PEPPER, Scene, socket_of
from support.postgresql_replica import ReplicatedServers, replicated_servers
from support.running_server import make_secret, serving
from support.tcp_proxy import proxied
from tokctl.store import open_store

BACK = "went back to an earlier state"
RECOVERY_SECONDS = 60
MANY = "TOKCTL_TEST_KILLS" in os.environ


@pytest.fixture
def servers() -> Iterator[ReplicatedServers]:
    with replicated_servers() as running:
        yield running


def test_commands_before_during_and_after_a_failover(servers, tokctl, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    scene = Scene(tmp_path, tokctl, servers.url, str)
    created = scene.cases()["create"]()
    assert scene.run(*created.words).code == 0

    standby = servers.replica.url()
    assert scene.run("tokens", "list", "i1", "--store", standby).code == 0
    with open_store(standby) as store:
        store.release()
        assert store.listen() is None  # the server refuses it: commands poll
        assert "i1" in store.all_instance_ids()
    for words in (["import", scene.cases()["import"]().words[2]], ["prune", "--completed-before", "1d", "--yes"]):
        ran = scene.run("store", *words, "--store", standby)
        assert (ran.code, "is read-only. Connect to the primary" in ran.err) == (6, True), ran
    ran = scene.run("api-tokens", "create", "no", "--save", f"file:{tmp_path / 'no'}", "--store", standby)
    assert (ran.code, "is read-only" in ran.err, (tmp_path / "no").exists()) == (6, True, False), ran

    importing = begin_import(servers)
    servers.fail_over()
    said = importing.communicate(ndjson(tokens(10, "halfway")), timeout=60)[1].decode()
    assert (importing.returncode, "was lost" in said, said.count("\n")) == (5, True, 1), said
    with open_store(servers.url()) as store:
        assert "halfway" not in store.all_instance_ids()
    assert created.is_done()

    for name, prepare in scene.cases().items():
        if name not in {"copy", "migrate", "upgrade"}:  # they create stores in other schemas
            case = prepare()
            assert scene.run(*case.words).code == 0, name
            assert case.is_done() is not False, name
    scene.check_api_tokens()


@pytest.mark.parametrize(
    ("command", "verdict"), [("create", "lose"), ("import", "drop"), *([("import", "lose"), ("create", "drop")] * MANY)]
)
def test_a_failover_at_a_commit(servers, tokctl, tmp_path, monkeypatch, command, verdict):
    """The new primary may have another transaction of this number: that one was saved is no proof."""
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    struck, current = [], [servers.primary]

    def backend() -> Path:
        if struck and current == [servers.primary]:
            servers.fail_over()
            current[:] = [servers.replica]
        return socket_of(current[0])()

    def rule(data: bytes) -> str | None:
        if b"COMMIT\0" not in data or struck:
            return None
        struck.append(data)
        return verdict

    with proxied(backend) as proxy:
        scene = Scene(tmp_path, tokctl, servers.url, lambda _url: proxy.url(servers.primary.url()))
        case = scene.cases()[command]()
        with proxy.ruled(rule):
            ran = scene.run(*case.words)
        assert ran.code == 5, ran
        if verdict == "drop":
            assert "unknown" not in ran.err
            assert case.is_done() is False
        elif command == "import":
            assert "unknown whether" in ran.err
            assert case.is_done()
        else:
            assert "was created, and its secret is lost. Revoke it with" in ran.err
            scene.check_api_tokens()
        assert scene.run(*case.words).code == 0
        assert case.is_done()


def test_a_failover_that_loses_changes_is_noticed(servers, tokctl, tmp_path, monkeypatch):
    """With asynchronous replication a revoked API token is valid again: ``doctor`` and the server say so."""
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    scene = Scene(tmp_path, tokctl, servers.url, str)
    secret, _ = make_secret(scene.place, "manager", "*", type_="full-access")
    revoked = scene.cases()["revoke"]()
    with serving(scene.url, env={"TOKCTL_STATE_DIR": str(tmp_path / "state")}) as served:
        assert served.get("/api/v1/processes", secret).status_code == 200
        servers.stop_replication()
        assert scene.run(*revoked.words).code == 0
        assert BACK not in tokctl("doctor", *scene.where).out
        assert served.get("/api/v1/processes", secret).status_code == 200
        servers.fail_over()
        assert not revoked.is_done()
        checked = tokctl("doctor", *scene.where)
        assert (checked.code, BACK in checked.out, "1 change of API tokens" in checked.out) == (1, True, True), checked
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not any("store went back" in line for line in served.lines):
            served.get("/api/v1/processes", secret)
            assert time.monotonic() < deadline, served.lines[-5:]
            time.sleep(0.05)


def begin_import(servers: ReplicatedServers) -> subprocess.Popen:
    """Start an import of a stream, and wait until it has written some of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", "store", "import", "-", "--store", servers.url()],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    process.stdin.write(ndjson(tokens(3000, "halfway")))
    process.stdin.flush()
    writing = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL"
    with psycopg.connect(servers.primary.url(), autocommit=True) as connection:
        while connection.execute(writing).fetchone() != (1,):
            connection.execute("SELECT pg_sleep(0.01)")
    return process
