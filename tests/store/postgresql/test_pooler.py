"""Commands and the server through PgBouncer in transaction mode: they do and say what they do without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from support.builders import TESTER, at, instance, ndjson, token, tokens
from support.paths import MODELS
from support.pgbouncer import SERVER_CONNECTIONS, pooled_url, pooling
from support.running_server import PEPPER, make_secret, serving
from tokctl.model.filters import InstanceFilter
from tokctl.store import open_store

TOKENS = "/api/v1/processes/big/tokens"
READING = (
    "tokens list big -o json",
    "tokens list -A --state FAILED",
    "tokens tree big",
    "tokens history big",
    "tokens trace big",
    "tokens show big t1",
    "tokens wait big --for no-live --timeout 0s",
    "instances list --var n=7",
    "instances show big",
    "incidents list",
    "explain t1",
    "flow big",
    "perf",
    "debug --all",
    "store export",
    "store check",
    "export big --format mermaid",
    "api-tokens list --columns id,state,scopes",
    "api-tokens audit",
    "api-tokens audit verify",
)


@pytest.fixture
def places(postgresql) -> Iterator[tuple[str, str]]:
    """A filled store: its URL through the pooler, and without."""
    database = postgresql.new_database()
    with pooling(postgresql) as pooler:
        pooled = pooled_url(pooler, database)
        with open_store(pooled, write=True, create=True) as store:
            assert store.database.is_pooled
            with store.write() as batch:
                batch.put(instance("big", process_id="p"), tokens(1200, "big", variables={"n": 7}))
                batch.put(instance("bad", process_id="p"), [token("f", "bad", state="FAILED")])
        yield pooled, postgresql.url(database)


def run(tokctl, place: str, line: str, *words: object):
    return tokctl(*line.split(), *words, "--store", place)


def test_each_command_says_the_same(places, tokctl, monkeypatch, tmp_path):
    pooled, direct = places
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    for name in "abcdefgh":  # more often than a statement is run until it is prepared
        assert run(tokctl, pooled, f"api-tokens create {name} --save file:{tmp_path}/{name}").code == 0
    for line in (
        "api-tokens update a --description changed",
        "api-tokens disable b",
        "api-tokens revoke c --yes",
        f"api-tokens rotate d --save file:{tmp_path}/d",
    ):
        assert run(tokctl, pooled, line).code == 0, line
    for line in READING:
        through, straight = (run(tokctl, place, line) for place in places)
        assert (through.code, through.out) == (straight.code, straight.out.replace(direct, pooled)), line
        assert through.code in {0, 1}, through


def test_each_writer_writes(places, tokctl, tmp_path):
    pooled, direct = places
    file = tmp_path / "several.ndjson"
    for number in range(8):  # each transaction may have another session
        file.write_bytes(ndjson(tokens(1500, f"import-{number}")))
        assert run(tokctl, pooled, "store import", file).code == 0
    assert run(tokctl, pooled, "simulate", MODELS / "parallel.bpmn", "-n", "20").code == 0
    assert run(tokctl, pooled, "store copy", pooled, f"sqlite:{tmp_path}/copy.db").code in {0, 2}
    with open_store(direct) as store:
        assert {f"import-{number}" for number in range(8)} <= {*store.all_instance_ids()}
        assert list(store.find_problems()) == []
        total = store.count_instances(InstanceFilter())
    assert run(tokctl, pooled, "store prune --completed-before 1d --yes").code == 0
    with open_store(direct) as store:
        assert store.count_instances(InstanceFilter()) < total


def test_writers_at_the_same_time(places):
    pooled, direct = places

    def write(name: str) -> None:
        with open_store(pooled, write=True) as store:
            for number in range(10):
                with store.write() as batch:
                    batch.put_tokens(tokens(20, f"{name}-{number}"))

    with ThreadPoolExecutor(2 * SERVER_CONNECTIONS) as threads:
        list(threads.map(write, "abcdef"))
    with open_store(direct) as store:
        found = {*store.all_instance_ids()}
    assert {f"{name}-{number}" for name in "abcdef" for number in range(10)} <= found


def test_nothing_stays_in_a_session(places):
    """The next client of the pooler finds the settings of the server."""
    pooled, _ = places
    with open_store(pooled, write=True) as store, store.write() as batch:
        store.set_busy_timeout(50)
        batch.put_tokens(tokens(20, "session"))
    with open_store(pooled) as store:
        store.set_query_limit(5)
    for _ in range(2 * SERVER_CONNECTIONS):
        with psycopg.connect(pooled) as connection:
            for setting in ("lock_timeout", "statement_timeout"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("0",)
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)


def test_a_server_that_is_too_old(places, tokctl):
    pooled, _ = places
    console = re.sub(r"///\w+", "///pgbouncer", pooled)  # PgBouncer's own database has the version of PgBouncer: 1
    ran = tokctl("store", "info", "--store", console)
    assert ran.code == 6
    assert re.fullmatch(r"error: the server of the store \S+ has version 1\.\S+, which is too old\. .*\n", ran.err)
    assert ran.err.endswith("Use PostgreSQL 13 or newer.\n")


def test_the_server(places):
    pooled, direct = places
    secret, number = make_secret(pooled, "manager", "*", type_="full-access")
    with serving(pooled, "--workers", "2") as served, ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda n: served.get(f"{TOKENS}?limit={n % 16 + 1}", secret), range(64))
        assert {answer.status_code for answer in answers} == {200}
        assert len(served.get(TOKENS, secret).json()["data"]["tokens"]) > 1
        made = served.client.post("/api/api-tokens", headers={"X-API-Key": secret}, json={"name": "new"})
        assert made.status_code == 201
        with open_store(direct, write=True) as store:
            store.api_tokens.revoke(number, at(0), by=TESTER)
        assert {served.get(TOKENS, secret).status_code for _ in range(4)} == {401}
