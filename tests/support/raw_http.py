"""Connections on which anything can be said, whole or in part, and what comes back."""

from __future__ import annotations

import json
import re
import socket

from support.running_server import SMALL, path_of

TARGET = path_of("processes", SMALL, "tokens")
LIMITS = """
serve:
  limits: {head_seconds: 0.6, stall_seconds: 2, idle_seconds: 1, connections: 30, long_answers: 2, queue_seconds: 1}
"""


class Raw:
    """A connection to say anything on."""

    def __init__(self, served, *, room: int | None = None) -> None:
        self.socket = socket.socket()
        if room is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.settimeout(10)
        self.socket.connect(served.address)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def one(self) -> bytes:
        """One whole answer that says its length."""
        found = b""
        while b"\r\n\r\n" not in found:
            found += self.socket.recv(1 << 16)
        top, _, body = found.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", top)[1])
        while len(body) < length:
            body += self.socket.recv(1 << 16)
        return top

    def rest(self) -> bytes:
        """All that still comes until the server closes."""
        found = b""
        try:
            while piece := self.socket.recv(1 << 16):
                found += piece
        except ConnectionResetError:
            pass
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def head(secret: str, *lines: str, target: str = TARGET, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", f"X-API-Key: {secret}", *lines, "", ""]).encode()


def parsed(answer: bytes) -> tuple[int, dict]:
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in top.lower(), answer[:300]
    return int(top.split()[1]), json.loads(body)
