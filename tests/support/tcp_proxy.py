"""A proxy between a program and its database that does what networks do: cut, delay, fall silent, lose an answer."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

CHUNK = 65536
_SO_ATTACH_FILTER, _BPF_RETURN = 26, 6  # of Linux
TERMINATE = b"X\0\0\0\4"


class TcpProxy:
    """Listens on loopback, and forwards each connection to the address that ``backend`` returns at the time.

    ``rule`` gets what a client sends, and may return what to do with it: "drop" resets the connection in its place,
    "lose" forwards it and resets the connection at the answer, "half" after the first bytes of the answer; at
    "silence" the proxy falls silent. It does not get the message that ends a connection: nobody waits for its arrival.
    """

    def __init__(self, backend: Callable[[], Path | tuple[str, int]]) -> None:
        self.backend = backend
        self.rule: Callable[[bytes], str | None] = lambda _data: None
        self.delay = 0.0  # seconds before each answer
        self.swallowed = threading.Event()
        """Set when something was sent since the proxy fell silent."""
        self._speaks = threading.Event()
        self._speaks.set()
        self._is_refusing = False
        self._closing = threading.Event()
        self._pairs: set[_Pair] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """Return the URL of a database with the address of the proxy in place of its own."""
        from psycopg.conninfo import conninfo_to_dict

        given: dict[str, Any] = conninfo_to_dict(url)
        options = f"?options={quote(given['options'])}" if "options" in given else ""
        return f"postgresql://{given['user']}@127.0.0.1:{self.port}/{given['dbname']}{options}"

    def reset_all(self) -> None:
        """Reset all connections."""
        for pair in list(self._pairs):
            pair.reset()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Reset all connections, and each new one."""
        self._is_refusing = True
        self.reset_all()
        try:
            yield
        finally:
            self._is_refusing = False

    def forget_connections(self) -> None:
        """Let nothing through any more on the connections that there are, as a firewall does that has forgotten them.

        Packets of clients are not even acknowledged; new connections work.
        """
        for pair in list(self._pairs):
            pair.drop_packets()

    def fall_silent(self) -> None:
        """Accept connections and what they send from now on, and answer nothing."""
        self._speaks.clear()

    def speak(self) -> None:
        """Serve new connections again; those that there are get resets."""
        self.reset_all()
        self.swallowed.clear()
        self._speaks.set()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Be silent for a while."""
        self.fall_silent()
        try:
            yield
        finally:
            self.speak()

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Delay each answer."""
        self.delay = seconds
        try:
            yield
        finally:
            self.delay = 0.0

    @contextmanager
    def ruled(self, rule: Callable[[bytes], str | None]) -> Iterator[None]:
        """Follow a rule for what clients send."""
        self.rule = rule
        try:
            yield
        finally:
            self.rule = lambda _data: None

    def close(self) -> None:
        """Close all connections, and accept none any more."""
        self._closing.set()
        self._speaks.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset_all()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                _reset(client)
                continue
            pair = _Pair(self, client)
            self._pairs.add(pair)
            threading.Thread(target=pair.run, daemon=True).start()

    def hold(self, pair: _Pair) -> None:
        """Wait while the proxy is silent."""
        if not self._speaks.is_set():
            self.swallowed.set()
            self._speaks.wait()
            pair.reset()

    def forget(self, pair: _Pair) -> None:
        """Take note that a connection has ended."""
        self._pairs.discard(pair)

    def pause(self) -> None:
        """Wait as long as answers are delayed."""
        if self.delay:
            self._closing.wait(self.delay)


class _Pair:
    """A connection of a client, and the one to the database."""

    def __init__(self, proxy: TcpProxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server: socket.socket | None = None
        self.verdict: str | None = None
        self.is_forgotten = False

    def drop_packets(self) -> None:
        """Drop all packets, below TCP in the direction from the client."""
        self.is_forgotten = True
        return_nothing = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
        program = struct.pack("HP", 1, ctypes.addressof(return_nothing))
        self.client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def run(self) -> None:
        """Forward what the client sends."""
        try:
            self.proxy.hold(self)
            address = self.proxy.backend()
            self.server = socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET)
            self.server.connect(str(address) if isinstance(address, Path) else address)
            threading.Thread(target=self._answer, args=[self.server], daemon=True).start()
            while data := self.client.recv(CHUNK):
                self.proxy.hold(self)
                verdict = None if data == TERMINATE else self.proxy.rule(data)
                if verdict == "drop":
                    break
                if verdict == "silence":
                    self.proxy.fall_silent()
                    self.proxy.hold(self)
                self.verdict = self.verdict or verdict
                self.server.sendall(data)
        except OSError:
            pass
        self.reset()

    def _answer(self, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(CHUNK):
                self.proxy.hold(self)
                self.proxy.pause()
                if self.is_forgotten:
                    continue
                if self.verdict == "half":
                    self.client.sendall(data[: len(data) // 2])
                if self.verdict:
                    break
                self.client.sendall(data)
        self.reset()

    def reset(self) -> None:
        """Reset both connections."""
        self.proxy.forget(self)
        for one in (self.client, self.server):
            if one is not None:
                _reset(one)


def _reset(connection: socket.socket) -> None:
    """Close a connection so that its other end gets a reset; a thread that waits for it goes on."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def proxied(backend: Callable[[], Path | tuple[str, int]]) -> Iterator[TcpProxy]:
    """Run a proxy."""
    proxy = TcpProxy(backend)
    try:
        yield proxy
    finally:
        proxy.close()
