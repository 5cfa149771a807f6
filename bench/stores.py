"""A large store: a simulated one, multiplied within its file.

A thousand instances are simulated (claims.bpmn, claims.yaml). Each copy of them has ids of its own and lies so
many months before, in the columns and in the JSON. Chance has no part in it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from measure import SQLITE_UTILS, TOKCTL, Line, Side, header, in_turn
from measure import measure as measure_line

HERE = Path(__file__).parent
MONTHS = 12  # how many months the copies are spread over
_FINAL = "('COMPLETED', 'CANCELLED', 'FAILED')"
_TIMES = (
    "started_at",
    "created_at",
    "updated_at",
    "completed_at",
    "cancelled_at",
    "finished_at",
    "timeout_at",
    "first_at",
    "last_at",
    "end_at",
)


class LargeStore:
    """A store of the simulated instances and copies of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(
            [*TOKCTL, "simulate", HERE / "claims.bpmn", "--scenario", HERE / "claims.yaml", "--store", path],
            check=True,
            capture_output=True,
        )
        self.copies = 1  # the simulated ones are the first
        with closing(sqlite3.connect(path)) as db:
            self.instances, self.tokens = db.execute(
                "SELECT max(pk), (SELECT max(pk) FROM token) FROM instance"
            ).fetchone()
            self.columns = {
                table: [column for _, column, *_ in db.execute(f"PRAGMA table_info({table})")]
                for table in ("instance", "token")
            }

    @property
    def megabytes(self) -> float:
        """Its size on disk."""
        return self.path.stat().st_size / 1e6

    def facts(self) -> tuple[int, int, int, int]:
        """How many instances, live instances, tokens and live tokens it has."""
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(
                "SELECT count(*), sum(live_tokens > 0), sum(total_tokens), sum(live_tokens) FROM instance"
            ).fetchone()

    def grow(self, tokens: int) -> None:
        """Add copies until there are so many tokens at least, and an instance for each hundred of them."""
        with self._changing() as db:
            while min(self.tokens, 100 * self.instances) * self.copies < tokens:
                for table, count in (("instance", self.instances), ("token", self.tokens)):
                    values = ", ".join(self._copied(table, column) for column in self.columns[table])
                    db.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE pk <= {count}")
                db.execute(
                    f"INSERT INTO variable SELECT name, value, instance + {self.copies * self.instances} FROM variable"
                    f" WHERE instance <= {self.instances}"
                )
                self.copies += 1

    def _copied(self, table: str, column: str) -> str:
        """SQL of a column's value in the next copy."""
        copy, back = f"{self.copies:04d}", self.copies % MONTHS
        begin, before = (
            datetime(2025, 1, 1, tzinfo=UTC),
            datetime(2025 - (back > 0), (12 - back) % 12 + 1, 1, tzinfo=UTC),
        )
        if column == "pk":
            return f"pk + {self.copies * (self.instances if table == 'instance' else self.tokens)}"
        if column == "instance":
            return f"instance + {self.copies * self.instances}"
        if column == "instance_id":
            return f"'srv1-{copy}' || substr(instance_id, 6)"
        if column in {"token_id", "parent_token_id"}:
            return f"'srv1-token-{copy}' || substr({column}, 12)"
        if column == "child_tokens":
            return f"replace(child_tokens, '\"srv1-token-', '\"srv1-token-{copy}')"
        if column in {"variables", "execution_context", "flow_history", "extra"}:
            moved = f"replace({column}, '{begin:%Y-%m-}', '{before:%Y-%m-}')"
            return f"replace({moved}, '\"srv1-job-', '\"srv1-job-{copy}')" if column == "execution_context" else moved
        if column in _TIMES:
            return f"{column} - {int((begin - before).total_seconds())} * 1000000"
        return column

    def fail(self, count: int) -> None:
        """Let the first token of so many instances, spread over the store, be FAILED."""
        with self._changing() as db:
            every = max(self.instances * self.copies // count, 1)
            chosen = f"SELECT pk FROM instance WHERE pk % {every} = 0 LIMIT {count}"
            db.execute(
                f"""UPDATE token SET state = 'FAILED', execution_context = '{{"error_message":"HTTP 500"}}'
                    WHERE pk IN (SELECT min(pk) FROM token WHERE instance IN ({chosen}) GROUP BY instance)"""
            )
            db.execute(
                f"""UPDATE instance SET (live_tokens, failed_tokens) = (live_tokens + 1, failed_tokens + 1)
                    WHERE pk IN ({chosen})"""
            )

    def name_one(self, name: str, value: str) -> None:
        """Give a variable to a single instance in the middle."""
        with self._changing() as db:
            pk = max(self.instances * self.copies // 2, 1)
            db.execute(f"UPDATE instance SET variables = json_set(variables, '$.{name}', ?) WHERE pk = {pk}", [value])
            db.execute("INSERT INTO variable VALUES (?, ?, ?)", [name, value, pk])

    def end_all_but(self, live: int) -> None:
        """Cancel live instances until so many are left, spread over the store."""
        now = "(SELECT max(updated_at) FROM instance)"
        with self._changing() as db:
            pks = [pk for (pk,) in db.execute("SELECT pk FROM instance WHERE live_tokens > 0 ORDER BY pk")]
            kept = {pks[number * len(pks) // live] for number in range(live)}
            ended = [(pk,) for pk in pks if pk not in kept]
            db.executemany(
                f"""UPDATE token SET state = 'CANCELLED', updated_at = {now}, cancelled_at = {now}, finished_at = {now}
                    WHERE instance = ? AND state NOT IN {_FINAL}""",
                ended,
            )
            db.executemany(
                f"""UPDATE instance SET status = 'CANCELLED', derived_status = 'CANCELLED', live_tokens = 0,
                    updated_at = {now}, cancelled_at = {now}, last_at = {now}, end_at = {now} WHERE pk = ?""",
                ended,
            )

    def begin_all_anew(self) -> None:
        """Let the last token of every instance that had come to its end be under way: one in a hundred tokens."""
        with self._changing() as db:
            db.execute(
                """UPDATE token SET state = 'ACTIVE', updated_at = created_at, completed_at = NULL, finished_at = NULL,
                   duration_ms = NULL, execution_context = NULL WHERE element_id = 'claim-settled'"""
            )
            db.execute(
                """UPDATE instance SET status = 'ACTIVE', derived_status = 'ACTIVE', live_tokens = 1,
                   completed_at = NULL, end_at = NULL WHERE live_tokens = 0"""
            )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that is quick rather than safe; afterwards all is on the disk."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
                db.execute(f"PRAGMA {setting}")
            yield db
            db.execute("PRAGMA journal_mode = WAL")
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())


ROUNDS = 5
LEFT = (30, 10)  # of a hundred live instances, how many are left in the largest store in the end


def measure(folder: Path, sizes: list[int]) -> None:
    """Measure debug and perf over a store that grows; then debug while what is live in it shrinks.

    Last, over another of the least size in which one of a hundred tokens is live: so is every instance.
    """
    began = time.monotonic()
    large = LargeStore(folder / "large.db")
    large.grow(2 * large.tokens)
    subprocess.run([*TOKCTL, "store", "check", "--store", large.path], check=True, capture_output=True)
    print(
        "Simulated, multiplied by two and found to be in order by `store check` "
        f"in {time.monotonic() - began:.0f} s; then multiplied further.\n"
    )
    print(
        "| tokens | instances | live instances, tokens | store, MB | made in, s "
        "| `debug`, ms (of the processor) | MB | `debug -o json` | MB | `perf` | MB |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for size in sizes:
        began = time.monotonic()
        large.grow(size)
        _row(large, f"{time.monotonic() - began:.0f}", perf=size <= 3_000_000)
    _, live, _, _ = large.facts()
    for percent in LEFT:
        large.end_all_but(max(live * percent // 100, 1))
        _row(large, "", perf=False)
    measure_queries(large)
    large.path.unlink()
    large = LargeStore(folder / "live.db")
    large.grow(sizes[0])
    large.begin_all_anew()
    _row(large, "", perf=False)
    print()


FAILED_TOKENS = 1000
ORDER = "ORD-13"
QUERIES = (
    (
        f"`tokens list -A --state FAILED`, {FAILED_TOKENS:,} tokens",
        ("tokens", "list", "-A", "--state", "FAILED", "-n", "0", "-o", "csv", "--columns", "token_id"),
        "SELECT t.*, i.instance_id FROM token t JOIN instance i ON i.pk = t.instance WHERE state = 'FAILED'",
    ),
    (
        f"`instances list --var orderId={ORDER}`, one found",
        ("instances", "list", "--var", f"orderId={ORDER}", "-o", "csv", "--columns", "instance_id"),
        f"SELECT * FROM instance WHERE json_extract(variables, '$.orderId') = '{ORDER}'",
    ),
)
"""What is asked, how of tokctl, and how of the same file in SQL."""


def measure_queries(large: LargeStore) -> None:
    """Compare two searches over the whole store with sqlite-utils, which asks SQLite for the same rows."""
    large.fail(FAILED_TOKENS)
    large.name_one("orderId", ORDER)
    print()
    header()
    for title, ours, sql in QUERIES:
        commands = (
            [*TOKCTL, *ours, "--store", str(large.path)],
            [*SQLITE_UTILS, "query", str(large.path), sql, "--csv"],
        )
        found = [subprocess.run(one, check=True, capture_output=True).stdout.count(b"\n") for one in commands]
        if found[0] != found[1]:
            raise SystemExit(f"{title}: {found[0]} lines, not {found[1]}")
        measure_line(Line(title, "", Side(commands[0]), Side(commands[1]), "`sqlite-utils query`", ROUNDS))
    print()


def _row(large: LargeStore, made: str, *, perf: bool) -> None:
    instances, live, tokens, live_tokens = large.facts()
    sides = [
        Side([*TOKCTL, *command, "--store", str(large.path)])
        for command in (("debug",), ("debug", "-o", "json"), *([("perf",)] if perf else []))
    ]
    in_turn(sides, ROUNDS)
    figures = [f"{side.ms:,.0f} ({side.busy_ms:,.0f}) | {side.megabytes:.0f}" for side in sides]
    print(
        f"| {tokens:,} | {instances:,} | {live:,}, {live_tokens:,} | {large.megabytes:,.0f} | {made} "
        f"| {' | '.join(figures + ['|'] * (not perf))} |",
        flush=True,
    )
