"""The access log: one JSON line for each request and each event. It never contains a secret.

A thread writes the lines in batches, so that a reader that has stopped reading does not delay requests. When too many
bytes are pending, new lines are dropped; the next line logs how many.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from tokctl.config.paths import expand_user
from tokctl.errors import UsageError
from tokctl.model.times import format_time

OFF = "off"
STDERR = "-"
FLUSH_INTERVAL_SECONDS = 0.05
MAX_PENDING_BYTES = 8 << 20  # bytes
MAX_TARGET_LENGTH = 2000
MAX_ENCODINGS = 5
"""How often a part of a target may be percent-encoded; one that is encoded more often is not shown."""
_SECRET = re.compile(rb"(xvc_)|(eyj)[0-9a-z_.~-]{20}", re.IGNORECASE)
_PART = re.compile(r"[^/?&=]+")

_encode = msgspec.json.encode


def format_now() -> str | None:
    """Return the current time in the log's format."""
    return format_time(datetime.now(UTC))


def redact_target(path: bytes, query: bytes, known: Collection[str]) -> str:
    """Return a request's target for the log.

    Values of parameters that the endpoint does not have are left out, and so is everything that looks like a secret:
    some clients put secrets into URLs.
    """
    text = path.decode("latin-1")
    if query:
        parts = []
        for part in query.decode("latin-1").split("&"):
            name, sign, _ = part.partition("=")
            parts.append(part if name in known or not sign else f"{name}=…")
        text += "?" + "&".join(parts)
    text = redact_secrets(text)
    return text if len(text) <= MAX_TARGET_LENGTH else text[:MAX_TARGET_LENGTH] + "…"


def redact_secrets(text: str) -> str:
    """Replace each part of a target or a word that looks like a secret, in any case and however often it is encoded."""
    if "%" not in text and _SECRET.search(text.encode()) is None:
        return text
    return _PART.sub(lambda part: _redact_part(part[0]), text)


def _redact_part(text: str) -> str:
    data = text.encode()
    for _ in range(MAX_ENCODINGS):
        if found := _SECRET.search(data):
            return "xvc_…" if found[1] else "eyJ…"
        before, data = data, unquote_to_bytes(data)
        if data == before:
            return text
    return "…"


class AccessLog:
    """Writes to stderr or to a file that may be rotated; "off" turns off request lines only: events go to stderr."""

    def __init__(self, where: str) -> None:
        """Open the file. Raises UsageError if it cannot be written."""
        self.logs_requests = where != OFF
        self._path = None if where in {STDERR, OFF} else expand_user(where)
        self._file = sys.stderr.fileno() if self._path is None else -1
        self._inode = -1
        self._lines: list[bytes] = []
        self._queued_bytes = 0  # bytes since the start; only the thread changes _written
        self._written = 0
        self._dropped = 0
        self._line_incomplete = False  # the last write ended within a line
        self._timer: asyncio.TimerHandle | None = None
        self._queue: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if self._path is not None:
            try:
                self._open(self._path)
            except OSError as error:
                raise UsageError(f"cannot write the access log {where}: {error.strerror}.") from None

    def _open(self, path: Path) -> None:
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._file >= 0:
            os.close(self._file)
        self._file = opened
        self._inode = os.fstat(opened).st_ino

    def log_request(self, fields: dict[str, Any]) -> None:
        """Log a request."""
        self._enqueue(_encode(fields))

    def log_event(self, event: str, **fields: Any) -> None:
        """Log anything that is not a request."""
        self._enqueue(_encode({"time": format_now(), "event": event} | fields))

    def _enqueue(self, line: bytes) -> None:
        if self._queued_bytes - self._written > MAX_PENDING_BYTES:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.log_event("lines dropped", lines=dropped)
        self._lines.append(line)
        self._queued_bytes += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_INTERVAL_SECONDS, self._start_write)

    def _start_write(self) -> None:
        self._timer = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_loop, name="log", daemon=True)
            self._thread.start()
        lines, self._lines = self._lines, []
        self._queue.put(lines)

    def _write_loop(self) -> None:
        while (lines := self._queue.get()) is not None:
            data = memoryview(b"\n".join(lines) + b"\n")
            if self._path is not None and self._was_moved(self._path):
                with suppress(OSError):  # if there can be no new file, keep the old one
                    self._open(self._path)
            try:
                if self._line_incomplete:
                    os.write(self._file, b"\n")
                    self._line_incomplete = False
                while data:
                    data = data[os.write(self._file, data) :]
                    self._line_incomplete = bool(data)
            except OSError:  # disk full, or the reader has gone: there is no other place to report it
                pass
            self._written += sum(map(len, lines))

    def _was_moved(self, path: Path) -> bool:
        try:
            return path.stat().st_ino != self._inode
        except OSError:
            return True

    def close(self) -> None:
        """Write the pending lines; wait at most two seconds for a slow reader."""
        if self._timer is not None:
            self._timer.cancel()
        if self._lines:
            self._start_write()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=2)
            if self._thread.is_alive():
                return
        if self._path is not None:
            os.close(self._file)
