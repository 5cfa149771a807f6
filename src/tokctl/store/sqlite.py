"""The SQLite store: opening, schema, writing and upkeep. The questions it answers are in ``queries``."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from tokctl.config.file import at_home
from tokctl.errors import StoreError, WrongStoreError
from tokctl.process.model import Definition, Instance, Token, from_micros, to_micros
from tokctl.store.base import StoreInfo, WriteReport
from tokctl.store.faults import WAIT_SECONDS, translated
from tokctl.store.queries import Questions
from tokctl.store.rows import INSTANCE_COLUMNS, TOKEN_COLUMNS, instance_row, token_row
from tokctl.store.schema import APPLICATION_ID, COUNT_CHANGE, FINAL, LIVE, MIGRATIONS, SCHEMA_VERSION
from tokctl.trace import trace

if TYPE_CHECKING:
    from tokctl.store.api_tokens import ApiTokenTable
    from tokctl.store.audit import AuditTable

MEMORY = ":memory:"  # a store that is gone when it is closed
CHUNK = 1000  # tokens between two looks at what has changed
ROWS = 50  # tokens a statement: a quarter faster than one by one
KNOWN = 50_000  # instances that a transaction keeps in memory
CACHE_KIB = 16 << 10


# --- opening --------------------------------------------------------------------------------------


def open_store(location: str, *, write: bool, create: bool) -> SQLiteStore:
    """Open the store in a file; see ``store.open_store``."""
    if location == MEMORY:
        connection = sqlite3.connect(MEMORY, isolation_level=None)
        migrate(connection)
        return SQLiteStore(connection, Path(MEMORY))
    path = at_home(location)
    trace("the store %s: opened to %s", path, "write" if write else "read")
    with translated(str(path)):
        if not _exists(path):
            if not create:
                raise StoreError(f"there is no store at {path}.",
                                 "Fill one with 'tokctl store import' or 'tokctl simulate', see one with "
                                 "'tokctl demo', or name another with --store.")  # fmt: skip
            _create(path)
        seen = _fingerprint(path)  # of what is opened next: if another file takes its place, that shows later
        connection, unlocked = (_connect(path, "rw"), False) if write else _connect_to_read(path)
        try:
            version = _check(connection, path)
            if version < SCHEMA_VERSION:
                with closing(_connect(path, "rw")) as upgrading:
                    migrate(upgrading)
            if write:
                connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            else:
                connection.execute("BEGIN")  # everything a command shows is of one moment
        except BaseException:
            connection.close()
            raise
    return SQLiteStore(connection, path, seen=seen, unlocked=unlocked)


def _exists(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}.") from None
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise WrongStoreError(f"the store {path} is {what}, not a file.", "Name a file with --store.")
    return status.st_size > 0


def _create(path: Path) -> None:
    """Make an empty store that only its owner can read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"the store {path} cannot be made: {error.strerror}.",
                         "Name another place with --store.") from None  # fmt: skip
    with closing(_connect(path, "rw")) as connection:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:  # SQLite's own patience does not cover the change of journal mode
            try:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        migrate(connection)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode if '=' in mode else f'mode={mode}'}"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # a simulation records from a thread with a deep stack, one at a time
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if mode == "rw":  # it looks at the file, which a reader may not be able to
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Return a connection, and whether it takes no locks and sees no changes."""
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # In a read-only folder WAL has nowhere to put its index. With no log there is nothing in it.
        wal = path.with_name(path.name + "-wal")
        barred = "unable to open" in str(error) or "readonly" in str(error)
        if barred and not (wal.exists() and wal.stat().st_size):
            return _connect(path, "immutable=1"), True
        raise
    return connection, False


def _fingerprint(path: Path) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """Return what tells a file from another in its place, and what tells a change of it.

    Raises:
        StoreError: there is none.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise StoreError(f"there is no store at {path}.") from None
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}.") from None
    try:
        log = path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        log = 0
    return (status.st_dev, status.st_ino), (status.st_mtime_ns, status.st_size, log)


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of a store that this program can open."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables or application:
            raise WrongStoreError(f"{path} is an SQLite database, but no tokctl store.", "Name another with --store.")
    if version > SCHEMA_VERSION:
        raise WrongStoreError(f"the store {path} was written by a newer tokctl (schema {version}; this one knows "
                              f"{SCHEMA_VERSION}).", "Upgrade tokctl.")  # fmt: skip
    return int(version)


def migrate(connection: sqlite3.Connection, steps: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring a store to the last of the steps, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in steps[version:]:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(version, len(steps))}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has ended the transaction already
            connection.execute("ROLLBACK")
        raise


def _statements(step: str) -> Iterator[str]:
    """The statements of a script; those of a trigger belong to it."""
    statement = ""
    for part in step.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


# --- the store ------------------------------------------------------------------------------------


class SQLiteStore(Questions):
    """A store in an SQLite file. Implements ``store.base.Store`` and ``process.engine.Engine``."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        seen: tuple[tuple[int, int], tuple[int, int, int]] | None = None,
        unlocked: bool = False,
    ) -> None:
        super().__init__(connection, str(path))
        self.path = path
        self._seen = seen
        self._unlocked = unlocked
        self._version: tuple[int, int] | None = None

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def refresh(self) -> bool:
        """Show the present moment: three statements that read no table, unless another file has taken the place.

        Raises:
            StoreError: the file has gone. (SQLite would go on showing what it was.)
        """
        if self._seen is not None:
            file, state = _fingerprint(self.path)
            if file != self._seen[0] or (self._unlocked and state != self._seen[1]):
                self._open_anew()
        with translated(str(self.path)):
            self.rest()
            self.connection.execute("BEGIN")
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()  # of what the BEGIN shows
        before, self._version = self._version, (version, self.connection.total_changes)
        return self._version != before

    def _open_anew(self) -> None:
        anew = open_store(str(self.path), write=False, create=False)
        self.close()
        self.connection, self._seen, self._unlocked = anew.connection, anew._seen, anew._unlocked  # noqa: SLF001
        self._version = None

    def rest(self) -> None:
        """Let go of the moment: a writer's log can only begin anew when nobody reads from it."""
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN will tell
                self.connection.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def write(self, *, keep: bool = True) -> Iterator[SQLiteBatch]:
        """Begin a transaction; waits for another writer up to WAIT_SECONDS."""
        with translated(str(self.path)):
            if keep:
                self.connection.execute("PRAGMA journal_mode = WAL")  # a backup comes without
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                batch = SQLiteBatch(self.connection)
                yield batch
                batch.finish()
                self.connection.execute("COMMIT" if keep else "ROLLBACK")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self.connection.execute("ROLLBACK")
                raise

    @property
    def api_tokens(self) -> ApiTokenTable:
        """The API tokens that are kept in the store."""
        from tokctl.store.api_tokens import ApiTokenTable

        return ApiTokenTable(self.connection, str(self.path))

    @property
    def audit(self) -> AuditTable:
        """What was done to them."""
        from tokctl.store.audit import AuditTable

        return AuditTable(self.connection, str(self.path))

    def be_patient(self, milliseconds: int) -> None:
        """Wait so long for another writer, and no longer."""
        with translated(str(self.path)):
            self.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def interrupt(self) -> None:
        """Let what the store is doing in another thread end soon, with a StoreError there."""
        with suppress(sqlite3.ProgrammingError):  # it has been closed
            self.connection.interrupt()

    def info(self) -> StoreInfo:
        """Facts about the store."""
        with translated(str(self.path)):
            instances, tokens, live, oldest, newest = self.connection.execute(
                "SELECT count(*), coalesce(sum(total_tokens), 0), coalesce(sum(live_tokens), 0),"
                " min(coalesce(started_at, first_at)), max(coalesce(updated_at, last_at)) FROM instance"
            ).fetchone()
            (definitions,) = self.connection.execute("SELECT count(*) FROM definition").fetchone()
            (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        return StoreInfo(
            location=str(self.path),
            kind=f"SQLite {sqlite3.sqlite_version}",
            schema_version=version,
            size_bytes=sum(file.stat().st_size for file in files if file.exists()),
            instances=instances,
            tokens=tokens,
            live_tokens=live,
            definitions=definitions,
            oldest=from_micros(oldest),
            newest=from_micros(newest),
        )

    def problems(self) -> Iterator[str]:
        """Damaged pages, rows without an instance, totals that do not add up."""
        with translated(str(self.path)):
            for (text,) in self.connection.execute("PRAGMA integrity_check"):
                if text != "ok":
                    yield f"SQLite: {text}"
            for table, row, parent, _ in self.connection.execute("PRAGMA foreign_key_check"):
                yield f"row {row} of table {table} belongs to no {parent}"
            wrong = self.connection.execute(
                f"""SELECT i.instance_id, i.total_tokens, i.live_tokens, count(t.pk), coalesce(sum(t.{LIVE}), 0)
                    FROM instance i LEFT JOIN token t ON t.instance = i.pk GROUP BY i.pk
                    HAVING count(t.pk) != i.total_tokens OR coalesce(sum(t.{LIVE}), 0) != i.live_tokens"""
            )
            for instance_id, total, live, real_total, real_live in wrong:
                yield (f"instance {instance_id}: counts {total} tokens, {live} live; "
                       f"there are {real_total}, {real_live} live")  # fmt: skip

    def backup(self, target: Path) -> None:
        """Copy the store into a new file while it is in use; the copy appears whole or not at all."""
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            if target.exists():
                raise StoreError(f"{target} exists already.", "Name a file that does not exist.")
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with translated(str(target)), closing(sqlite3.connect(partial)) as copy:
                self.connection.backup(copy, pages=4096)
                copy.execute("PRAGMA journal_mode = DELETE")
            try:
                os.link(partial, target)  # unlike rename, this never replaces a file that has just come
            except FileExistsError:
                raise
            except OSError:  # not every file system has links
                os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
                partial.replace(target)
        except OSError as error:
            raise StoreError(f"the backup {target} cannot be written: {error.strerror}.") from None
        finally:
            partial.unlink(missing_ok=True)

    _ENDED = (
        "live_tokens = 0 AND coalesce(completed_at, cancelled_at, end_at) < ?"
        f" AND coalesce(status, derived_status, 'COMPLETED') IN ({FINAL})"  # an end alone will do
    )

    def finished_before(self, moment: datetime) -> tuple[int, int]:
        """How many instances ended before a moment, and how many tokens they have."""
        with translated(str(self.path)):
            instances, tokens = self.connection.execute(
                f"SELECT count(*), coalesce(sum(total_tokens), 0) FROM instance WHERE {self._ENDED}",
                (to_micros(moment),),
            ).fetchone()
        return instances, tokens

    def prune(self, moment: datetime) -> tuple[int, int]:
        """Remove the instances that ended before a moment, and give their room back."""
        with self.write():
            counted = self.finished_before(moment)
            self.connection.execute(COUNT_CHANGE, ["process"])
            self.connection.execute(f"DELETE FROM instance WHERE {self._ENDED}", (to_micros(moment),))
        with suppress(sqlite3.OperationalError):  # with another writer at work the room is kept, and used again
            self.connection.executescript("PRAGMA incremental_vacuum")  # execute would free a single page
        return counted


# --- writing --------------------------------------------------------------------------------------


def _upsert(table: str, columns: tuple[str, ...], key: str, update: str, rows: int = 1) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} "
        f"ON CONFLICT ({key}) DO UPDATE SET {update}"
    )


_NOT_OLDER = "({0}.updated_at IS NULL OR excluded.updated_at IS NULL OR excluded.updated_at >= {0}.updated_at)"
_REPLACE_TOKEN = (
    ", ".join(f"{c} = excluded.{c}" for c in TOKEN_COLUMNS)
    + f" WHERE {_NOT_OLDER.format('token')}"
    + f" AND ({', '.join(f'token.{c}' for c in TOKEN_COLUMNS)})"
    + f" IS NOT ({', '.join(f'excluded.{c}' for c in TOKEN_COLUMNS)})"
)
_PUT_TOKEN, _PUT_TOKENS = (
    _upsert("token", ("instance", *TOKEN_COLUMNS), "token_id, instance", _REPLACE_TOKEN, rows) for rows in (1, ROWS)
)
_MERGED = [(f"coalesce(excluded.{c}, instance.{c})", f"instance.{c}", c) for c in INSTANCE_COLUMNS]
_PUT_INSTANCE = _upsert(
    "instance",
    INSTANCE_COLUMNS,
    "instance_id",
    ", ".join(f"{column} = {merged}" for merged, _, column in _MERGED)
    + f" WHERE {_NOT_OLDER.format('instance')}"
    + f" AND ({', '.join(m for m, _, _ in _MERGED)}) IS NOT ({', '.join(old for _, old, _ in _MERGED)})",
)
_PUT_DEFINITION = _upsert(
    "definition",
    ("process_id", "version", "document"),
    "process_id, version",
    "document = excluded.document WHERE document != excluded.document",
)

# The same rules as process.status.derive, over the tokens of every instance that was touched.
_LAST = f"""(SELECT {{}} FROM token WHERE token.instance = instance.pk AND state IN ({FINAL})
    ORDER BY finished_at DESC, state = 'COMPLETED' DESC, state DESC LIMIT 1)"""
_TOTALS = f"""
    UPDATE instance SET (total_tokens, live_tokens, first_at, last_at) =
        (SELECT count(*), coalesce(sum({LIVE}), 0), min(created_at), max(coalesce(updated_at, created_at))
         FROM token WHERE token.instance = instance.pk)
    WHERE pk = ?"""
_STATUS = f"""
    UPDATE instance SET
        revision = (SELECT number FROM revision WHERE kind = 'process'),
        derived_status = CASE WHEN live_tokens > 0 THEN 'ACTIVE' ELSE {_LAST.format("state")} END,
        end_at = CASE WHEN live_tokens > 0 THEN NULL ELSE {_LAST.format("finished_at")} END
    WHERE pk = ?"""


class SQLiteBatch:
    """One transaction of an SQLite store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.report = WriteReport()
        self.pks: dict[str, int] = {}
        self.touched: set[int] = set()
        self.spilled = False

    def put_definition(self, definition: Definition) -> None:
        """Keep a definition."""
        document = msgspec.json.encode(definition).decode()
        values = (definition.process_id, definition.version, document)
        self.report.definitions += self.connection.execute(_PUT_DEFINITION, values).rowcount

    def put(self, instance: Instance, tokens: Iterable[Token] = ()) -> None:
        """Keep an instance and tokens of it."""
        changed = self.connection.execute(_PUT_INSTANCE, instance_row(instance)).rowcount
        self.report.instances += changed
        if changed:
            self.touched.add(self._pk(instance.instance_id))
        self.put_tokens(tokens)

    def put_tokens(self, tokens: Iterable[Token]) -> None:
        """Keep tokens; their instances are made where they are missing."""
        tokens = iter(tokens)
        while chunk := list(islice(tokens, CHUNK)):
            rows = [(self._pk(token.instance_id), *token_row(token)) for token in chunk]
            before, last = self.connection.total_changes, self._last_token()
            for start in range(0, len(rows), ROWS):
                part = rows[start : start + ROWS]
                if len(part) == ROWS:
                    self.connection.execute(_PUT_TOKENS, list(chain.from_iterable(part)))
                else:
                    self.connection.executemany(_PUT_TOKEN, part)
            changed = self.connection.total_changes - before
            added = self._last_token() - last
            if changed:
                self.touched.update(row[0] for row in rows)
            self.report.added += added
            self.report.updated += changed - added
            self.report.unchanged += len(rows) - changed
            if len(self.touched) > KNOWN:
                self._spill()

    def _last_token(self) -> int:
        (pk,) = self.connection.execute("SELECT coalesce(max(pk), 0) FROM token").fetchone()
        return int(pk)

    def _pk(self, instance_id: str) -> int:
        known = self.pks.get(instance_id)
        if known is not None:
            return known
        if len(self.pks) > KNOWN:
            self.pks.clear()
        made = self.connection.execute(
            "INSERT INTO instance (instance_id) VALUES (?) ON CONFLICT DO NOTHING", (instance_id,)
        ).rowcount
        self.report.instances += made
        (pk,) = self.connection.execute("SELECT pk FROM instance WHERE instance_id = ?", (instance_id,)).fetchone()
        self.pks[instance_id] = pk
        return int(pk)

    def finish(self) -> None:
        """Bring what is worked out from the tokens up to date."""
        if self.spilled:
            self._spill()
        if self.spilled or self.touched or self.report.definitions:
            self.connection.execute(COUNT_CHANGE, ["process"])
        for work in (_TOTALS, _STATUS):
            pks = (
                self.connection.execute("SELECT pk FROM temp.touched ORDER BY pk")
                if self.spilled
                else ((pk,) for pk in sorted(self.touched))
            )
            self.connection.executemany(work, pks)
        if self.spilled:
            self.connection.execute("DROP TABLE temp.touched")

    def _spill(self) -> None:
        """Put down which instances were touched: an input may have millions of them."""
        self.connection.execute("CREATE TEMP TABLE IF NOT EXISTS touched (pk INTEGER PRIMARY KEY)")
        self.connection.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?)", ((pk,) for pk in self.touched))
        self.touched.clear()
        self.spilled = True
