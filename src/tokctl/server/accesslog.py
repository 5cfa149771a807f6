"""The log: a line of JSON for each request, and for what happens beside them. No secret ever stands in it.

Lines are gathered for a moment and written by a thread, so that a reader who has stopped reading holds up nobody;
what he does not take in is dropped at last, and how many lines that were is said.
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

import msgspec

from tokctl.config.file import at_home
from tokctl.errors import UsageError
from tokctl.process.model import format_time

OFF = "off"
STDERR = "-"
GATHER_SECONDS = 0.05
MOST_WAITING = 8 << 20  # bytes
LONGEST_TARGET = 2000
SECRET_SIGNS = (b"xvc_", b"eyJ")
_SECRET = re.compile(r"(xvc)(?:_|%5f)[0-9a-z%_.~-]*|(eyJ)[0-9a-z%_.~-]{20,}", re.IGNORECASE)

_encode = msgspec.json.encode


def now_text() -> str | None:
    """The present moment as it stands in the log."""
    return format_time(datetime.now(UTC))


def told_target(path: bytes, query: bytes, known: Collection[str]) -> str:
    """Return a request's target as the log tells it.

    Of parameters that the endpoint has not, the names alone, and of what looks like a secret, nothing: some put it
    where it does not belong.
    """
    text = path.decode("latin-1")
    if query:
        parts = []
        for part in query.decode("latin-1").split("&"):
            name, sign, _ = part.partition("=")
            parts.append(part if name in known or not sign else f"{name}=…")
        text += "?" + "&".join(parts)
    if "xvc" in text or "eyJ" in text:
        text = _SECRET.sub(lambda found: "xvc_…" if found[1] else "eyJ…", text)
    return text if len(text) <= LONGEST_TARGET else text[:LONGEST_TARGET] + "…"


class Log:
    """Where lines go: stderr, a file that may be moved away (rotated), or nowhere. Events always go somewhere."""

    def __init__(self, where: str) -> None:
        """Open the file. Raises UsageError where it cannot be written."""
        self.requests = where != OFF
        self._path = None if where in {STDERR, OFF} else at_home(where)
        self._file = sys.stderr.fileno() if self._path is None else -1
        self._inode = -1
        self._lines: list[bytes] = []
        self._taken = 0  # bytes, ever; the thread alone counts those written
        self._written = 0
        self._dropped = 0
        self._torn = False  # the last line that was written is not whole
        self._timer: asyncio.TimerHandle | None = None
        self._queue: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if self._path is not None:
            try:
                self._open(self._path)
            except OSError as error:
                raise UsageError(f"the access log {where} cannot be written: {error.strerror}.") from None

    def _open(self, path: Path) -> None:
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._file >= 0:
            os.close(self._file)
        self._file = opened
        self._inode = os.fstat(opened).st_ino

    def request(self, fields: dict[str, Any]) -> None:
        """Tell of a request."""
        self._put(_encode(fields))

    def event(self, event: str, **fields: Any) -> None:
        """Tell of something else."""
        self._put(_encode({"time": now_text(), "event": event} | fields))

    def _put(self, line: bytes) -> None:
        if self._taken - self._written > MOST_WAITING:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.event("lines dropped", lines=dropped)
        self._lines.append(line)
        self._taken += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        self._timer = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
            self._thread.start()
        lines, self._lines = self._lines, []
        self._queue.put(lines)

    def _write_on(self) -> None:
        while (lines := self._queue.get()) is not None:
            data = memoryview(b"\n".join(lines) + b"\n")
            if self._path is not None and self._was_moved(self._path):
                with suppress(OSError):  # where there can be no new file, the old one has to do
                    self._open(self._path)
            try:
                if self._torn:
                    os.write(self._file, b"\n")
                    self._torn = False
                while data:
                    data = data[os.write(self._file, data) :]
                    self._torn = bool(data)
            except OSError:  # a full disk, a reader that has gone: there is nowhere left to say it
                pass
            self._written += sum(map(len, lines))

    def _was_moved(self, path: Path) -> bool:
        try:
            return path.stat().st_ino != self._inode
        except OSError:
            return True

    def close(self) -> None:
        """Write what is left; a stuck reader is given two seconds."""
        if self._timer is not None:
            self._timer.cancel()
        if self._lines:
            self._hand_over()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=2)
            if self._thread.is_alive():
                return
        if self._path is not None:
            os.close(self._file)
