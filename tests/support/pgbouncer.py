"""PgBouncer in transaction mode before a PostgreSQL server: each transaction runs on another connection."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


class Pooler:
    """A pooler before a server, on a socket in a folder of its own."""

    def __init__(self, server: PostgreSQLServer, **settings: object) -> None:
        self.program = require_pgbouncer()
        self.folder = Path(tempfile.mkdtemp(prefix="tokctl-pgbouncer-"))
        self.settings = self.folder / "pgbouncer.ini"
        values = {"server": server.folder, "port": server.port, "user": USER, "listen": PORT, "folder": self.folder}
        more = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self.settings.write_text(_SETTINGS.format(**values, size=SERVER_CONNECTIONS) + more)

    def start(self) -> None:
        command = [self.program, "-q", str(self.settings)]
        if os.geteuid() == 0:
            for path in (self.folder, self.settings):
                shutil.chown(path, USER)
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait_until_it_listens()

    def stop(self, *, kill: bool = False) -> None:
        """Stop it at once: clients are disconnected."""
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self.process.wait(30)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_it_listens(self) -> None:
        while True:
            assert self.process.poll() is None
            with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
                probe.connect(str(self.address))
                return
            time.sleep(0.01)

    @property
    def address(self) -> Path:
        return self.folder / f".s.PGSQL.{PORT}"


@contextmanager
def pooling(server: PostgreSQLServer, **settings: object) -> Iterator[Pooler]:
    """Run a pooler before a server; settings are those of PgBouncer."""
    pooler = Pooler(server, **settings)
    pooler.start()
    try:
        yield pooler
    finally:
        pooler.close()


def pooled_url(pooler: Pooler, database: str) -> str:
    """Return the URL of a database through the pooler."""
    return f"postgresql:///{database}?host={pooler.folder}&port={PORT}&user={USER}"
