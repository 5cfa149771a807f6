"""A primary with a replica: what a hot standby can do, and what happens to commands when it takes over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.builders import ndjson, tokens
from support.commandline import clean_environment
from support.database_faults import PEPPER, Scene, socket_of
from support.postgresql_replica import ReplicatedServers, replicated_servers
from support.tcp_proxy import proxied
from tokctl.store import open_store

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
        if name not in {"copy", "migrate"}:  # they create stores in other schemas
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
