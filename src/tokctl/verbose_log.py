"""The messages of ``-v``: which files are read, where a credential comes from, requests, and their total.

Messages are dropped unless ``set_listener`` was called. They contain no secrets; the listener masks secrets in any
case.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_listeners: list[Callable[[str], object]] = []


def set_listener(listener: Callable[[str], object] | None) -> None:
    """Set the function that receives all messages, or None."""
    _listeners[:] = [] if listener is None else [listener]


def trace(text: str, *values: object) -> None:
    """Send a message to the listener; ``values`` replace the placeholders in ``text``, as with the operator ``%``."""
    for listener in _listeners:
        listener(text % values)


class Traffic:
    """The requests of this process: their number, bytes and time. Several threads may count at once.

    ``received`` counts the bytes of response bodies as received, that is before they are decompressed. ``elapsed`` is
    the time (s) from the first request to the last byte, ``waited`` the part of it spent waiting for a rate limit,
    added up over all threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Start from zero."""
        self.requests = self.received = 0
        self.waited = 0.0
        self._first: float | None = None
        self._last = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds from the first request to the last byte of a response."""
        return 0.0 if self._first is None else self._last - self._first

    def count_request(self, now: float) -> None:
        """Count a request that is sent now, in seconds of a monotonic clock."""
        with self._lock:
            self.requests += 1
            self._first = now if self._first is None else self._first
            self._last = now

    def count_bytes(self, number: int, now: float) -> None:
        """Count bytes of a body that have arrived now."""
        with self._lock:
            self.received += number
            self._last = now

    def count_wait(self, seconds: float) -> None:
        """Count the time that a request waits for a rate limit."""
        with self._lock:
            self.waited += seconds

    def summary(self) -> str:
        """Return the totals, such as ``7 requests, 34 kB, 120 ms``; '' without a request."""
        if not self.requests:
            return ""
        parts = [
            f"{self.requests:,} request{'s' * (self.requests != 1)}",
            _format_bytes(self.received),
            _format_seconds(self.elapsed),
        ]
        if self.waited:
            parts.append(f"{_format_seconds(self.waited)} waiting for the rate limit")
        return ", ".join(parts)


def _format_bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 100 * size else f"{number / size:,.0f} {unit}"
    return f"{number} B"


def _format_seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"


TRAFFIC = Traffic()
"""The requests of this process."""
