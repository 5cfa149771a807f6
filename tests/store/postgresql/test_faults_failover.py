"""A primary with a replica: what a hot standby can do, and what happens to commands when it takes over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from support.builders import ndjson, tokens
from support.commandline import clean_environment
from support.database_faults import PEPPER, Scene
from support.postgresql_replica import ReplicatedServers, replicated_servers
from tokctl.store import open_store


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
