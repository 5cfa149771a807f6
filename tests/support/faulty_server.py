"""A server that does what servers should not, and a little proxy: real sockets, in threads of this process.

``serving(*answers)`` answers each request with the next of its answers, the last one for ever after. An answer is
a function of a ``Link``; it returns whether the connection may be used for the next request.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

GOOD = b'{"success":true,"data":{}}'


@dataclass
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    connection: int = 0


class Link:
    """One connection, while a request of it is answered."""

    def __init__(self, connection: socket.socket, asked: Asked, stopped: threading.Event) -> None:
        self.connection = connection
        self.asked = asked
        self._stopped = stopped

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def wait(self, seconds: float) -> bool:
        """Wait; False once the server has been stopped."""
        return not self._stopped.wait(seconds)

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Behaviour = Callable[[Link], bool | None]


@dataclass
class Server:
    """What can be seen of a running server."""

    port: int
    scheme: str = "http"
    host: str = "127.0.0.1"
    seen: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [asked.target for asked in self.seen]


# --- answers --------------------------------------------------------------------------------------


def head(status: int = 200, length: int | None = None, kind: str = "application/json", **headers: str) -> bytes:
    """The head of an answer; underscores in names of headers stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def good(body: bytes = GOOD, status: int = 200, **headers: str) -> Behaviour:
    def answer(link: Link) -> bool:
        link.send(head(status, len(body), **headers) + body)
        return True

    return answer


def zipped(body: bytes = GOOD, cut: int | None = None, **headers: str) -> Behaviour:
    """A compressed answer, cut to so many bytes though its length is honest."""
    return good(gzip.compress(body)[:cut], **({"Content_Encoding": "gzip"} | headers))


def raw(data: bytes, *, reset: bool = False) -> Behaviour:
    """Send these bytes, and close the connection."""

    def answer(link: Link) -> bool:
        link.send(data)
        if reset:
            link.wait(0.05)  # what is on its way arrives, and then the reset
            link.reset()
        return False

    return answer


def cut(body: bytes = GOOD, of: int = 1000, *, reset: bool = False) -> Behaviour:
    """Promise more than comes."""
    return raw(head(length=of) + body, reset=reset)


def silent(link: Link) -> bool:
    """Say nothing at all."""
    while link.wait(1):
        pass
    return False


def stalled(data: bytes) -> Behaviour:
    """Send these bytes, and then nothing more."""

    def answer(link: Link) -> bool:
        link.send(data)
        return silent(link)

    return answer


def dripping(begin: bytes, drop: bytes, every: float) -> Behaviour:
    """Send the beginning, and then drop after drop for ever."""

    def answer(link: Link) -> bool:
        link.send(begin)
        while link.wait(every):
            link.send(drop)
        return False

    return answer


def endless(link: Link) -> bool:
    """A body that never ends, as fast as it goes."""
    link.send(head(Transfer_Encoding="chunked"))
    while link.wait(0):
        link.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    return False


def bomb(size: int) -> Behaviour:
    """Zeros, compressed a thousandfold."""
    return good(gzip.compress(bytes(size)), Content_Encoding="gzip")


def redirect(to: str, status: int = 302) -> Behaviour:
    return good(b"", status, Location=to)


def page(status: int = 200) -> Behaviour:
    return good(b"<!DOCTYPE html><html><title>Sign in</title></html>", status, kind="text/html; charset=utf-8")


# --- the server -----------------------------------------------------------------------------------


@contextmanager
def serving(
    *answers: Behaviour,
    tls: ssl.SSLContext | None = None,
    unix: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    greeting: bytes = b"",
) -> Iterator[Server]:
    """Serve; every thread has ended when this does. The greeting is sent before anything has been asked."""
    if unix:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(unix)
        listener.listen(64)
        server = Server(0, "unix", unix)
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=64)
        server = Server(listener.getsockname()[1], "https" if tls else "http", host)
    host = _Host(listener, server, answers, tls, greeting)
    host.start(host.accept)
    try:
        yield server
    finally:
        host.stop()


class _Host:
    """The threads of a server: one that accepts, and one for each connection."""

    def __init__(
        self,
        listener: socket.socket,
        server: Server,
        answers: tuple[Behaviour, ...],
        tls: ssl.SSLContext | None,
        greeting: bytes,
    ) -> None:
        self.listener = listener
        self.server = server
        self.answers = answers
        self.tls = tls
        self.greeting = greeting
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.opened: list[socket.socket] = []
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=work, args=given)
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.opened.append(connection)
                self.server.connections += 1
            self.start(self.talk, connection, self.server.connections)

    def talk(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError, ValueError):
            connection.sendall(self.greeting)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
                with self.lock:
                    self.opened.append(connection)
            with connection, connection.makefile("rb") as stream:
                while asked := read_request(stream):
                    asked.connection = number
                    more = self.next_answer(asked)(Link(connection, asked, self.stopped))
                    if not more or asked.headers.get("connection") == "close":
                        return

    def next_answer(self, asked: Asked) -> Behaviour:
        with self.lock:
            self.server.seen.append(asked)
            return self.answers[min(len(self.server.seen), len(self.answers)) - 1]

    def stop(self) -> None:
        self.stopped.set()
        _shut(self.listener)
        self.threads[0].join(10)
        with self.lock:
            for connection in self.opened:
                _shut(connection)
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()


def read_request(stream) -> Asked | None:
    line = stream.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").rstrip("\r\n").split(" ")
    headers = {}
    while text := stream.readline().decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Asked(method, target, headers, stream.read(int(headers.get("content-length", 0))))


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 address for itself."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


# --- a proxy --------------------------------------------------------------------------------------


def proxy(to: int, *, password: str | None = None) -> Behaviour:
    """A proxy (give it to ``serving``) that leads every name to a port of this machine."""

    def answer(link: Link) -> bool:
        if password and link.asked.headers.get("proxy-authorization") != password:
            link.send(head(407, 0))
            return False
        with socket.create_connection(("127.0.0.1", to), 10) as onward:
            if link.asked.method == "CONNECT":
                link.send(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=_pump, args=(onward, link.connection))
                back.start()
                _pump(link.connection, onward)
                back.join(10)
                return False
            path = "/" + link.asked.target.split("/", 3)[3]
            lines = [f"{link.asked.method} {path} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in link.asked.headers.items()]
            onward.sendall(("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1"))
            _pump(onward, link.connection)
        return False

    return answer


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
