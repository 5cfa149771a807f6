"""A PostgreSQL server of the test run's own: one for all its processes, and a schema for each store."""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

CHOSEN = "TOKCTL_TEST_POSTGRESQL"
"""The environment variable with the folder of the server programs, such as those of another version."""
DATABASE = "tests"
USER = "postgres"
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "password_encryption": "scram-sha-256",  # not the default of 13
}


def find_programs() -> Path | None:
    """Return the folder that CHOSEN names, or that of this system's newest PostgreSQL; None without one."""
    if chosen := os.environ.get(CHOSEN):
        return Path(chosen)
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, filter(None, [shutil.which("initdb")]))]
    found = [folder if folder.is_dir() else folder.parent for folder in folders]
    return max(found, key=lambda folder: (folder.parent.name.isdigit(), folder.parent.name.zfill(4)), default=None)


class PostgreSQLServer:
    """A server in a folder: on a socket there, and with ``port`` also on loopback."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        programs = find_programs()
        assert programs is not None
        self.folder = folder
        self.data = folder / "data"
        self.programs = programs
        self.port = port or 5432

    def _run(self, program: str, *words: str) -> None:
        """Run a program of PostgreSQL, which refuses to run as root."""
        command = [str(self.programs / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    def create(self, **settings: str) -> None:
        """Create the server's data, and start it."""
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        words = ("--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", USER, "-D", str(self.data))
        self._run("initdb", *words)
        chosen = SETTINGS | {"unix_socket_directories": str(self.folder), "port": str(self.port)} | settings
        with (self.data / "postgresql.auto.conf").open("a", encoding="ascii") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        self.start()
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            order = "LOCALE_PROVIDER icu ICU_LOCALE 'en'" if connection.info.server_version >= 150000 else ""
            connection.execute(
                f"CREATE DATABASE {DATABASE} TEMPLATE template0 {order}"
            )  # an order of words, not of bytes

    def start(self) -> None:
        log = str(self.data / "log")
        self._run("pg_ctl", "start", "-D", str(self.data), "-l", log, "-w", "-t", "60")

    def stop(self, mode: str = "immediate") -> None:
        with suppress(AssertionError):  # it has been stopped
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w")

    def restart(self, mode: str = "immediate") -> None:
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop the server, and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = DATABASE, **parameters: str) -> str:
        """Return the URL of a database of the server."""
        words = {"host": str(self.folder), "user": USER, "port": str(self.port)} | parameters
        return f"postgresql:///{database}?" + "&".join(f"{name}={quote(value)}" for name, value in words.items())

    def new_database(self) -> str:
        """Create an empty database; returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def new_schema(self) -> str:
        """Return the URL of a new, empty schema: a store can be created there."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url(options=f"-csearch_path={name}")


@cache
def shared_server() -> PostgreSQLServer:
    """Return the server of the test run. Its first process starts the server, its last one stops it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"tokctl-pg-{run[:16]}"
    users = folder.with_suffix(".users")
    server = PostgreSQLServer(folder)
    atexit.register(_leave, server, users)
    change_users(users, 1, server.create)
    return server


def _leave(server: PostgreSQLServer, users: Path) -> None:
    if change_users(users, -1) == 0:
        server.remove()
        users.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def postgresql() -> PostgreSQLServer:
    """The server of the test run."""
    require_postgresql()
    return shared_server()


def change_users(file: Path, by: int, begin: Callable[[], None] = lambda: None) -> int:
    """Add to the number of processes that use the server; the first one calls ``begin``. Returns the number."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        before = int(stream.read() or 0)
        if not before:
            begin()
        stream.seek(0)
        stream.write(f"{before + by:4}")
    return before + by


@contextmanager
def temporary_server(**settings: str) -> Iterator[PostgreSQLServer]:
    """Run a server of its own, which may be stopped."""
    require_postgresql()
    server = PostgreSQLServer(Path(tempfile.mkdtemp(prefix="tokctl-pg-")), port=int(settings.pop("port", "0")))
    try:
        server.create(**settings)
        yield server
    finally:
        server.remove()


def postgresql_is_there() -> bool:
    """Return whether there is a PostgreSQL, as there has to be in CI."""
    return find_programs() is not None or bool(os.environ.get("CI"))


def require_postgresql(*programs: str) -> None:
    """Skip a test where there is no PostgreSQL, except in CI, or where the chosen one has not these programs."""
    if not postgresql_is_there():
        pytest.skip("needs the server programs of PostgreSQL")
    folder = find_programs()
    if CHOSEN in os.environ and (missing := [name for name in programs if not (folder / name).exists()]):
        pytest.skip(f"the PostgreSQL of {CHOSEN} has no {', '.join(missing)}")
