"""A PostgreSQL server of the test run's own: one for all its processes, and a schema for each store."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

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
}


def find_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL server of this system; None if there is none."""
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
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        words = ("--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", USER, "-D", str(self.data))
        self._run("initdb", *words)
        chosen = SETTINGS | {"unix_socket_directories": str(self.folder), "port": str(self.port)} | settings
        with (self.data / "postgresql.auto.conf").open("a", encoding="ascii") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        self.start()
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def start(self) -> None:
        log = str(self.data / "log")
        self._run("pg_ctl", "start", "-D", str(self.data), "-l", log, "-w", "-t", "60")

    def stop(self) -> None:
        with suppress(AssertionError):  # it has been stopped
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate", "-w")

    def url(self, database: str = DATABASE, **parameters: str) -> str:
        """Return the URL of a database of the server."""
        words = {"host": str(self.folder), "user": USER, "port": str(self.port)} | parameters
        return f"postgresql:///{database}?" + "&".join(f"{name}={quote(value)}" for name, value in words.items())

    def new_schema(self) -> str:
        """Return the URL of a new, empty schema: a store can be created there."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url(options=f"-csearch_path={name}")


@cache
def shared_server(folder: Path) -> PostgreSQLServer:
    """Return the server of the whole test run, whose processes share a folder: the first one starts it."""
    server = PostgreSQLServer(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "started").exists():
            server.create()
            (folder / "started").touch()
    return server


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQLServer]:
    """The server of the test run."""
    require_postgresql()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    if not run:
        with temporary_server() as server:
            yield server
        return
    folder = Path(tempfile.gettempdir()) / f"tokctl-pg-{run[:16]}"
    folder.mkdir(mode=0o755, exist_ok=True)
    users = folder.with_suffix(".users")
    change_users(users, 1)
    try:
        yield shared_server(folder)
    finally:
        if change_users(users, -1) == 0:
            shared_server(folder).stop()
            shutil.rmtree(folder, ignore_errors=True)
            users.unlink(missing_ok=True)


def change_users(file: Path, by: int) -> int:
    """Add to the number of processes that use the server; returns it."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT), "r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        users = int(stream.read() or 0) + by
        stream.seek(0)
        stream.write(f"{users:4}")
        return users


@contextmanager
def temporary_server(**settings: str) -> Iterator[PostgreSQLServer]:
    """Run a server of its own, which may be stopped."""
    require_postgresql()
    folder = Path(tempfile.mkdtemp(prefix="tokctl-pg-"))
    folder.chmod(0o755)
    server = PostgreSQLServer(folder, port=int(settings.pop("port", "0")))
    try:
        server.create(**settings)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def require_postgresql() -> None:
    """Skip a test where there is no PostgreSQL, except in CI."""
    if find_programs() is None and not os.environ.get("CI"):
        pytest.skip("needs the server programs of PostgreSQL")
