"""A PostgreSQL server with a replica that follows it, and takes its place when it is promoted."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from support.postgresql_server import DATABASE, USER, PostgreSQLServer, temporary_server


class Replica(PostgreSQLServer):
    """A hot standby: it can be read from, and be promoted."""

    def follow(self, primary: PostgreSQLServer) -> None:
        """Copy the data of a server, which stops for that, and follow it from then on."""
        self.folder.chmod(0o755)
        if self.folder.owner() != primary.data.owner():
            shutil.chown(self.folder, USER)
        primary.stop("fast")
        # Not with pg_basebackup: some packages of PostgreSQL come without it.
        subprocess.run(["cp", "-a", str(primary.data), str(self.data)], check=True, timeout=60)
        primary.start()
        source = f"host={primary.folder} port={primary.port} user={USER}"
        with (self.data / "postgresql.auto.conf").open("a", encoding="ascii") as file:
            file.write(f"unix_socket_directories = '{self.folder}'\nprimary_conninfo = '{source}'\n")
        (self.data / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        """Make it a primary."""
        self._run("pg_ctl", "promote", "-D", str(self.data), "-w")


class ReplicatedServers:
    """A primary and its replica; each commit waits until the replica has it."""

    def __init__(self, primary: PostgreSQLServer, replica: Replica) -> None:
        self.primary = primary
        self.replica = replica

    def url(self, attributes: str = "read-write", **parameters: str) -> str:
        """Return the URL of the database on the one of them that is the primary."""
        words = {
            "host": f"{self.primary.folder},{self.replica.folder}",
            "port": f"{self.primary.port},{self.replica.port}",
            "user": USER,
            "target_session_attrs": attributes,
        } | parameters
        return f"postgresql:///{DATABASE}?" + "&".join(f"{name}={quote(value)}" for name, value in words.items())

    def stop_replication(self) -> None:
        """Let commits wait for the replica no more, which gets none of them from now on."""
        for server, setting in ((self.primary, "synchronous_standby_names"), (self.replica, "primary_conninfo")):
            with psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute(f"ALTER SYSTEM SET {setting} = ''")
                connection.execute("SELECT pg_reload_conf()")
        with psycopg.connect(self.primary.url(), autocommit=True) as connection:
            while connection.execute("SELECT count(*) FROM pg_stat_replication").fetchone() != (0,):
                connection.execute("SELECT pg_sleep(0.01)")

    def fail_over(self) -> None:
        """Kill the primary, and promote the replica."""
        self.primary.stop()
        self.replica.promote()


@contextmanager
def replicated_servers(*, synchronous_commit: str = "on") -> Iterator[ReplicatedServers]:
    """Run a primary and a replica with synchronous replication."""
    with temporary_server(synchronous_commit=synchronous_commit) as primary:
        replica = Replica(Path(tempfile.mkdtemp(prefix="tokctl-pg-")))
        try:
            replica.follow(primary)
            with psycopg.connect(primary.url(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
                replicas = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                while connection.execute(replicas).fetchone() != (1,):
                    connection.execute("SELECT pg_sleep(0.01)")
            yield ReplicatedServers(primary, replica)
        finally:
            replica.remove()
