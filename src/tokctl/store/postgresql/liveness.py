"""Ends waiting for a server that does not answer any more: a network can lose everything without a word.

A query may take long, so that a limit for its answer says little. If an answer takes long, the server is asked over
another connection whether it is there; if it is not, the connection that waits is ended.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import threading
from contextlib import suppress
from time import monotonic
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import capabilities

PROBE_SECONDS = 10.0
"""Seconds of waiting for an answer after which the server is probed, and between two probes."""
ANSWER_SECONDS = 5.0
"""Seconds that a server has to answer a probe, and to end a query that was cancelled."""
CANCEL_SECONDS = 1.0
"""Seconds that a server has to accept the cancellation of a query, as by Ctrl-C."""
KEEPALIVES = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""Parameters of a connection: TCP detects within a minute that an idle connection was lost, and within 20 seconds that
what was sent did not arrive. The server can still be reached then if a firewall has only forgotten the connection."""

_TICK_SECONDS = 0.5
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # every server answers it before it knows who asks

_connections: WeakSet[WatchedConnection] = WeakSet()
_lock = threading.Lock()
_watchers: set[int] = set()  # the process with a thread that watches: a fork has none


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that does not wait forever for a server that does not answer any more."""

    waiting_since: float | None = None
    cancelled_at: float = -math.inf

    def wait(self, *args: Any, **more: Any) -> Any:
        """Wait for an answer, as psycopg does."""
        self.waiting_since = monotonic()
        try:
            return super().wait(*args, **more)
        finally:
            self.waiting_since = None

    def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:
        """Cancel the query; if the server does not accept that in time, end the connection."""
        if not capabilities.has_cancel_safe() and not self.is_reachable():
            self.disconnect()  # libpq before 17 would wait for the server, without a limit
            return
        self.cancelled_at = monotonic()
        try:
            super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        except psycopg.Error:
            self.disconnect()

    def is_reachable(self) -> bool:
        """Tell whether the server answers over another connection; that of a Unix socket always does."""
        return is_local(self) or is_alive(self.info.hostaddr or self.info.host, self.info.port)

    def ignores_cancel(self) -> bool:
        """Tell whether a query did not end although it was cancelled: its answer does not arrive."""
        since = self.waiting_since
        return since is not None and since <= self.cancelled_at < monotonic() - ANSWER_SECONDS

    def disconnect(self) -> None:
        """End the connection without a word to the server; a thread that waits for it gets an error."""
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


def watch(connection: WatchedConnection) -> None:
    """Watch a connection over a network from now on, for as long as it is used."""
    if is_local(connection):
        return
    with _lock:
        _connections.add(connection)
        if os.getpid() not in _watchers:
            _watchers.clear()
            _watchers.add(os.getpid())
            threading.Thread(target=_watch, daemon=True, name="database-liveness").start()


def _watch() -> None:
    probed: dict[int, float] = {}  # when a connection was probed, by its id
    tick = threading.Event()
    while not tick.wait(_TICK_SECONDS):
        with _lock:
            deaf = [one for one in _connections if one.ignores_cancel()]
            overdue = [one for one in _connections if _is_overdue(one, probed.get(id(one), 0.0))]
        for connection in deaf:
            connection.disconnect()
        for connection in overdue:
            since = connection.waiting_since
            if since is not None and not connection.is_reachable() and connection.waiting_since == since:
                connection.disconnect()
        probed = {id(one): monotonic() for one in overdue} | {
            number: at for number, at in probed.items() if monotonic() - at < PROBE_SECONDS
        }


def _is_overdue(connection: WatchedConnection, probed: float) -> bool:
    since = connection.waiting_since
    return since is not None and monotonic() - max(since, probed) > PROBE_SECONDS


def is_local(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether a connection uses a Unix socket."""
    return connection.info.host.startswith(("/", "@"))


def is_alive(host: str, port: int) -> bool:
    """Tell whether a PostgreSQL server, or a pooler, answers at an address."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as probe:
            probe.sendall(_SSL_REQUEST)
            return bool(probe.recv(1))
    except OSError:
        return False
