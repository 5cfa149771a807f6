"""A store that is damaged, or that another program changes, while it is served."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from support.running_server import API, SMALL, path_of, refused, serving
from tokctl.store import open_store

TOKENS = path_of("processes", SMALL, "tokens")


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_changed_store_is_not_served(own):
    store, _ = own
    execute(store, "CREATE TRIGGER extra AFTER INSERT ON api_token BEGIN SELECT 1; END")
    refused(store, "--port", 0, code=6, match="has an unknown trigger 'extra', so it is not served")


def test_each_request_to_a_store_that_is_being_damaged_gets_a_clear_error(own):
    store, secret = own
    key = {"X-API-Key": secret}
    with serving(store) as served:
        assert served.get(TOKENS, secret).status_code == 200

        def code(path: str) -> str:
            begin = time.monotonic()
            answer = served.get(path, secret)
            assert answer.status_code == 503
            assert time.monotonic() - begin < 10
            return answer.json()["error"]["code"]

        execute(store, "UPDATE token SET child_tokens = 'x'", "UPDATE revision SET number = number + 1")
        assert [code(f"{TOKENS}?limit={number}") for number in (2, 3)] == ["STORE_UNAVAILABLE"] * 2
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        execute(store, f"CREATE VIEW extra AS {endless}")
        assert {code(path) for path in (TOKENS, f"{API}/processes", "/health")} == {"STORE_UNAVAILABLE"}
        execute(
            store,
            "DROP VIEW extra",
            "UPDATE token SET child_tokens = NULL",
            "CREATE TRIGGER extra AFTER UPDATE ON api_token BEGIN UPDATE api_token SET revoked_at = NULL; END",
        )
        assert served.get("/health").status_code == 200
        assert served.client.delete("/api/api-tokens/1", headers=key).status_code == 503
        assert served.get(TOKENS, secret, headers={"X-Request-ID": "last"}).status_code == 200
        assert served.log("last")
        assert not [line for line in served.lines if "fault" in line]
    execute(store, "DROP TRIGGER extra")
    with open_store(str(store)) as opened:
        assert opened.api_tokens.by_id(1).revoked_at is None
