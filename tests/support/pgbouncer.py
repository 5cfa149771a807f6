"""PgBouncer in transaction mode before a PostgreSQL server: each transaction runs on another connection."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from support.postgresql_server import USER, PostgreSQLServer

PORT = 6432
SERVER_CONNECTIONS = 3

_SETTINGS = """[databases]
* = host={server} port={port} user={user}
[pgbouncer]
listen_addr =
listen_port = {listen}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {size}
server_round_robin = 1
server_idle_timeout = 5
"""


def require_pgbouncer() -> str:
    """Return the program; skip a test where there is none, except in CI."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "CI needs pgbouncer"
        pytest.skip("needs pgbouncer")
    return program


@contextmanager
def pooling(server: PostgreSQLServer) -> Iterator[Path]:
    """Run a pooler before a server; yields the folder of its socket."""
    program = require_pgbouncer()
    folder = Path(tempfile.mkdtemp(prefix="tokctl-pgbouncer-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        _SETTINGS.format(
            server=server.folder, port=server.port, user=USER, listen=PORT, folder=folder, size=SERVER_CONNECTIONS
        )
    )
    command = [program, "-q", str(settings)]
    if os.geteuid() == 0:
        for path in (folder, settings):
            shutil.chown(path, USER)
        command = ["runuser", "-u", USER, "--", *command]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(folder, process)
        yield folder
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(folder: Path, process: subprocess.Popen) -> None:
    while True:
        assert process.poll() is None
        try:
            psycopg.connect(host=str(folder), port=PORT, user=USER, dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.01)
            continue
        return


def pooled_url(folder: Path, database: str) -> str:
    """Return the URL of a database through the pooler."""
    return f"postgresql:///{database}?host={folder}&port={PORT}&user={USER}"
