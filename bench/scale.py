"""Measures stores of 1 to 30 million tokens, in SQLite and PostgreSQL side by side, and prints Markdown tables.

A thousand instances are simulated (claims.bpmn, claims.yaml) and exported. Copies of the export have ids of their own,
as random as the simulated ones; three million tokens are a month. They are imported a million at a time, as one file
each, into a store of either kind. PostgreSQL is a server of this run with its usual settings, but 1 GB of shared
buffers; its clock is set to the month of what is imported, so that the tokens are in as many partitions.

    python bench/scale.py [--sizes 1,10,30] [--keep DIR] [--rounds N]

With --keep a run that was stopped is continued. 30 million tokens need 60 GB and an hour.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from measure import TOKCTL, Side, in_turn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from support.postgresql_server import PostgreSQLServer, find_programs  # noqa: E402 - the path
from tokctl.store import open_store  # noqa: E402

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
}
COPIES = 10  # of the simulated instances, in a file
COPY = 3  # that with the instance to ask for
FILES_PER_MONTH = 3
JANUARY = 660  # of 2025, in months since 1970
SQLITE = shutil.which("sqlite3") or "sqlite3"
FREE_BYTES = 5_000_000_000  # below this, nothing more is made
LONG = 10.0  # s; what takes longer is measured once
_ID = re.compile(rb"srv1-(?:token-|job-)?[0-9A-Za-z]+|CLM-[0-9]+")


class Source:
    """The export of the simulated instances, to be copied."""

    def __init__(self, folder: Path) -> None:
        export = folder / "simulated.ndjson"
        if not export.exists():
            store = folder / "simulated.db"
            claims = (HERE / "claims.bpmn", "--scenario", HERE / "claims.yaml")
            run(*TOKCTL, "simulate", *claims, "--store", store)
            part = folder / "simulated.part"
            run(*TOKCTL, "store", "export", "-o", "ndjson", "--to", part, "--store", store)
            part.rename(export)
            store.unlink()
        text = export.read_bytes()
        self.tokens = text.count(b'"token_id":')
        self._pieces: list[bytes] = []
        begin = 0
        for match in _ID.finditer(text):
            self._pieces.append(text[begin : match.end()])
            begin = match.end()
        self._pieces.append(text[begin:])
        ids = re.findall(rb'^\{"instance_id":"([^"]+)","process_id":"[^"]*","process_key"', text, re.MULTILINE)
        self.instance = self._with_most_tokens(text, ids)
        self.claim = re.search(rb"CLM-[0-9]+", text)[0].decode()  # type: ignore[index]

    def _with_most_tokens(self, text: bytes, ids: Sequence[bytes]) -> str:
        return max(ids[:50], key=lambda one: text.count(b'{"instance_id":"' + one + b'"')).decode()

    def write(self, path: Path, number: int) -> None:
        """Write the file of this number, from 0."""
        month = 1 + number // FILES_PER_MONTH
        with path.open("wb") as stream:
            for copy in range(number * COPIES, (number + 1) * COPIES):
                stream.write(suffix(copy).encode().join(self._pieces).replace(b"2025-01-", b"2025-%02d-" % month))


def suffix(copy: int) -> str:
    """Return what the ids of a copy end with."""
    return f"{copy:04d}"


@dataclass
class Kind:
    """A store of one kind, and the program that is compared with tokctl."""

    name: str
    store: str
    peer: Sequence[str]
    empty: str

    def ours(self, *words: str, empty: bool = False) -> list[str]:
        """Return the command line of tokctl, for this store or for one with a single instance."""
        return [*TOKCTL, *words, "--store", self.empty if empty else self.store]

    def theirs(self, sql: str) -> list[str]:
        """Return the command line of the other program, for one statement or several."""
        if self.name == "SQLite":
            return [*self.peer, sql]
        return [*self.peer, *(word for statement in sql.split("; ") for word in ("-c", statement))]


@dataclass(frozen=True)
class Query:
    """What is asked of tokctl, and in SQL for the rows that it needs."""

    title: str
    words: Sequence[str]
    sql: str
    rows: Callable[[bytes], int] | None = None
    """Counts the rows in our output, if it has as many as the other program's."""


LIVE = "state NOT IN ('CANCELLED', 'COMPLETED')"
ORDER = "ORDER BY created_at NULLS FIRST, pk"


def count_tokens(output: bytes) -> int:
    """Count the tokens of a JSON document."""
    return len(json.loads(output)["tokens"])


def count_rows(output: bytes) -> int:
    """Count the rows of CSV."""
    return len([*csv.reader(output.decode().splitlines(keepends=True))])


def count_named_rows(output: bytes) -> int:
    """Count the rows of CSV after the names of the columns."""
    return max(count_rows(output) - 1, 0)


def queries(source: Source) -> list[Query]:
    """Return what is measured; all about an instance of the first million."""
    instance, claim = f"{source.instance}{suffix(COPY)}", f"{source.claim}{suffix(COPY)}"
    of_instance = f"instance = (SELECT pk FROM instance WHERE instance_id = '{instance}')"
    return [
        Query("open: `store migrate --dry-run`", ("store", "migrate", "--dry-run"), "SELECT 1"),
        Query(
            "`tokens list ID`, one instance",
            ("tokens", "list", instance, "-o", "json"),
            f"SELECT * FROM token WHERE {of_instance} {ORDER}",
            count_tokens,
        ),
        Query(
            "`tokens list ID --type userTask`",
            ("tokens", "list", instance, "--type", "userTask", "-o", "json"),
            f"SELECT * FROM token WHERE {of_instance} AND element_type = 'userTask' {ORDER}",
            count_tokens,
        ),
        Query(
            "`tokens tree ID`",
            ("tokens", "tree", instance),
            "SELECT token_id, element_id, state, parent_token_id, child_tokens, element_type, element_name, created_at,"
            f" finished_at, duration_ms, worker_id, flow_history FROM token WHERE {of_instance} {ORDER}",
        ),
        Query(
            "`instances list --status FAILED`",
            ("instances", "list", "--status", "FAILED", "-n", "0", "-o", "csv"),
            "SELECT * FROM instance WHERE coalesce(status, derived_status) = 'FAILED'",
            count_named_rows,
        ),
        Query(
            "`instances list --var claimId=…`",
            ("instances", "list", "--var", f"claimId={claim}", "-o", "csv"),
            "SELECT * FROM instance WHERE pk IN (SELECT instance FROM variable"
            f" WHERE name = 'claimId' AND value IN ('{claim}', 's{claim}'))",
            count_named_rows,
        ),
        Query(
            "`tokens list -A --state FAILED`",
            ("tokens", "list", "-A", "--state", "FAILED", "-n", "0", "-o", "csv"),
            "SELECT t.*, i.instance_id FROM token t JOIN instance i ON i.pk = t.instance WHERE t.state = 'FAILED'"
            " ORDER BY t.instance, t.created_at",
            count_named_rows,
        ),
        Query(
            "`debug`, everything",
            ("debug", "-o", "json"),
            "SELECT t.* FROM instance i JOIN token t ON t.instance = i.pk WHERE i.live_tokens > 0 ORDER BY i.pk;"
            " SELECT instance_id, element_id, duration_ms FROM (SELECT pk, instance_id FROM instance ORDER BY pk DESC"
            " LIMIT 1000) AS compared CROSS JOIN token WHERE instance = compared.pk AND state = 'COMPLETED'",
        ),
        Query(
            "`perf`, by element",
            ("perf", "-o", "json"),
            "SELECT token_id, parent_token_id, element_id, element_type, element_name, worker_id, state, created_at,"
            " finished_at, duration_ms, retries_used FROM token",
        ),
    ]


def run(*command: object) -> None:
    """Run a command; its output is shown only if it fails."""
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr}")


def output(command: Sequence[str]) -> bytes:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True).stdout


class Bench:
    """The stores, and what was measured so far: kept in the folder."""

    def __init__(self, folder: Path, server: PostgreSQLServer, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.source = Source(folder)
        self.instance = f"{self.source.instance}{suffix(COPY)}"
        self.notes = folder / "measured.json"
        self.measured: dict[str, Any] = json.loads(self.notes.read_text()) if self.notes.exists() else {}
        assert find_programs() is not None
        psql = [
            str(server.programs / "psql"),
            "-d",
            server.url(),
            "--no-psqlrc",
            "--csv",
            "-t",
            "-v",
            "FETCH_COUNT=500",
        ]
        self.kinds = (
            Kind("SQLite", str(folder / "large.db"), [SQLITE, "-csv", str(folder / "large.db")], str(folder / "e.db")),
            Kind("PostgreSQL", server.url(), psql, server.url("empty")),
        )

    def note(self, key: str, value: object) -> None:
        """Keep a figure."""
        self.measured[key] = value
        self.notes.write_text(json.dumps(self.measured))

    def tokens(self, kind: Kind) -> int:
        """Return how many tokens a store has."""
        done = subprocess.run(kind.ours("store", "info", "-o", "json"), check=False, capture_output=True)
        return int(json.loads(done.stdout)["tokens"]) if done.returncode == 0 else 0

    def prepare(self) -> None:
        """Make the empty store whose clock is set, and those to measure the start-up with, which have one instance."""
        open_store(self.kinds[1].store, write=True, create=True).close()
        for kind in self.kinds:
            if not subprocess.run(kind.ours("store", "info", empty=True), check=False, capture_output=True).returncode:
                continue
            token = {"instance_id": "i", "token_id": "t", "element_id": "e", "state": "COMPLETED"}
            subprocess.run(
                kind.ours("store", "import", "-", empty=True),
                input=json.dumps(token).encode(),
                check=True,
                capture_output=True,
            )

    def grow(self, files: int) -> None:
        """Import so many files in all; the time of each import is noted."""
        file = self.folder / "next.ndjson"
        present = [self.tokens(kind) // (COPIES * self.source.tokens) for kind in self.kinds]
        for number in range(min(present), files):
            if shutil.disk_usage(self.folder).free < FREE_BYTES:
                raise SystemExit("less than 5 GB are free on the disk")
            self.source.write(file, number)
            for kind, done in zip(self.kinds, present, strict=True):
                if number < done:
                    continue
                self._set_clock(number)
                side = Side(kind.ours("store", "import", str(file)))
                side.run()
                self.note(f"import {kind.name} {number}", COPIES * self.source.tokens / side.seconds[0])
                print(f"{kind.name} {number}: {COPIES * self.source.tokens / side.seconds[0]:,.0f}/s", file=sys.stderr)
        file.unlink(missing_ok=True)

    def _set_clock(self, number: int) -> None:
        """Let PostgreSQL record new instances in the month of a file."""
        with closing(psycopg.connect(self.kinds[1].store, autocommit=True)) as connection:
            connection.execute(
                "CREATE OR REPLACE FUNCTION token_month() RETURNS BIGINT LANGUAGE sql AS"
                f" 'SELECT CAST({JANUARY + number // FILES_PER_MONTH} AS BIGINT)'"
            )

    def analyze(self) -> None:
        """Do what autovacuum does sooner or later."""
        with closing(psycopg.connect(self.kinds[1].store, autocommit=True)) as connection:
            connection.execute("VACUUM ANALYZE")

    def measure(self, size: str) -> None:
        """Measure all queries at the present size."""
        for query in queries(self.source):
            for kind in self.kinds:
                key = f"{size} {kind.name} {query.title}"
                if key not in self.measured:
                    self.note(key, self._measure(kind, query))
        for kind in self.kinds:
            self.note(f"{size} bytes {kind.name}", self._bytes(kind))

    def _measure(self, kind: Kind, query: Query) -> list[float]:
        """Return the seconds of a query: ours and the peer's, each with its start-up, then both start-ups."""
        self._compare(kind, query)
        sides = [Side(kind.ours(*query.words)), Side(kind.theirs(query.sql))]
        words = ["i" if word == self.instance else word for word in query.words]
        starts = [Side(kind.ours(*words, empty=True)), Side(kind.theirs("SELECT 1"))]
        began = time.monotonic()
        sides[0].run()
        if time.monotonic() - began > LONG:
            sides[1].run()
            in_turn(starts, self.rounds)
        else:
            in_turn([*sides, *starts], self.rounds)
        return [statistics.median(side.seconds) for side in (*sides, *starts)]

    def _compare(self, kind: Kind, query: Query) -> None:
        """Stop if tokctl and the other program find a different number of rows."""
        if query.rows is None:
            return
        ours, theirs = (output(command) for command in (kind.ours(*query.words), kind.theirs(query.sql)))
        if query.rows(ours) != count_rows(theirs):
            raise SystemExit(f"{kind.name}: {query.title}: {query.rows(ours)} rows, and not {count_rows(theirs)}")

    def _bytes(self, kind: Kind) -> int:
        done = subprocess.run(kind.ours("store", "info", "-o", "json"), check=True, capture_output=True)
        return int(json.loads(done.stdout)["size_bytes"])

    def prune(self) -> None:
        """Remove what ended in the first month."""
        with closing(psycopg.connect(self.kinds[1].store, autocommit=True)) as connection:
            connection.execute("ANALYZE")
        for kind in self.kinds:
            if f"prune {kind.name}" in self.measured:
                continue
            command = kind.ours("store", "prune", "--completed-before", "2025-02-01", "--yes", "-o", "json")
            began = time.monotonic()
            done = subprocess.run(command, check=True, capture_output=True)
            self.note(f"prune {kind.name}", [json.loads(done.stdout)["tokens"], time.monotonic() - began])
            run(*kind.ours("store", "check"))

    def report(self, sizes: Sequence[str]) -> None:
        """Print what was measured."""
        columns = [
            (kind, size) for kind in self.kinds for size in sizes if f"{size} bytes {kind.name}" in self.measured
        ]
        heads = [f"{kind.name}, {size} M" for kind, size in columns]
        print(f"| ms | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}")
        for query in queries(self.source):
            cells = [self._cell(self.measured[f"{size} {kind.name} {query.title}"]) for kind, size in columns]
            print(f"| {query.title} | {' | '.join(cells)} |")
        sizes_on_disk = [f"{self.measured[f'{size} bytes {kind.name}'] / 1e9:.1f}" for kind, size in columns]
        print(f"| store, GB | {' | '.join(sizes_on_disk)} |")
        print("\nIn brackets: the time without start-up, as a multiple of that of `sqlite3` or `psql`.\n")
        print(f"| tokens/s | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}")
        rates = [self._rate(kind, size) for kind, size in columns]
        print(f"| `store import`, the last million | {' | '.join(rates)} |")
        for kind in self.kinds:
            if found := self.measured.get(f"prune {kind.name}"):
                print(f"\n`store prune` in {kind.name}: {found[0]:,} tokens in {found[1]:.1f} s.")

    def _cell(self, seconds: Sequence[float]) -> str:
        ours, theirs, our_start, their_start = seconds
        ratio = max(ours - our_start, 0) / max(theirs - their_start, 0.001)
        return f"{ours * 1000:,.0f} ({ratio:.1f})"

    def _rate(self, kind: Kind, size: str) -> str:
        return f"{self.measured.get(f'import {kind.name} {files_of(size) - 1}', 0):,.0f}"


def files_of(size: str) -> int:
    """Return the number of files for so many million tokens."""
    return max(int(float(size)), 1)


@contextmanager
def running_server(folder: Path) -> Iterator[PostgreSQLServer]:
    """Start the server in the folder; the first time it is made."""
    server = PostgreSQLServer(folder / "postgresql")
    if server.data.exists():
        server.restart()
    else:
        server.create(**SETTINGS)
        with closing(psycopg.connect(server.url(), autocommit=True)) as connection:
            connection.execute("CREATE DATABASE empty")
    try:
        yield server
    finally:
        server.stop("fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="1,10", metavar="N,N", help="millions of tokens, in ascending order")
    parser.add_argument("--keep", metavar="DIR", help="folder of the stores, which is kept; a stopped run is continued")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each command that is not long")
    parser.add_argument("--no-prune", action="store_true", help="keep all tokens, so that the stores can grow later")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["TOKCTL_CONFIG"] = os.devnull
    sizes = options.sizes.split(",")
    folder = Path(options.keep or tempfile.mkdtemp(prefix="tokctl-scale-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # the server has another user
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # stops the server, too
    try:
        with running_server(folder) as server:
            bench = Bench(folder, server, options.rounds)
            bench.prepare()
            for size in sizes:
                if f"{size} bytes PostgreSQL" not in bench.measured:
                    bench.grow(files_of(size))
                    bench.analyze()
                    bench.measure(size)
            if not options.no_prune:
                bench.prune()
            bench.report(sizes)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
