"""How far the clock of a server is from the local one, by the header Date of its responses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

NOTABLE_DIFFERENCE = timedelta(seconds=10)
"""Clocks that differ by more are not the same. Less is usual, and Date has whole seconds."""
MAX_RESPONSE_TIME = timedelta(seconds=10)
"""A response that took longer tells too little: the server read its clock at some time before it."""


class ServerClock:
    """Compares the clocks once, at the first response that tells the time. Several threads may use it at once.

    ``offset`` is what to add to the local time for the server's, 0 if they are not notably apart. ``on_difference`` is
    called with it if they are.
    """

    def __init__(self) -> None:
        self.offset = timedelta()
        self.on_difference: Callable[[timedelta], object] = lambda _: None
        self._lock = threading.Lock()
        self._is_compared = False

    def compare(self, headers: Mapping[str, str], received_at: datetime, took: timedelta) -> None:
        """Compare the clocks at a response that has been received, ``took`` after its request."""
        if self._is_compared or took > MAX_RESPONSE_TIME or "age" in headers:  # a cache sends an old Date
            return
        date = parse_date(headers.get("date", ""))
        if date is None:
            return
        with self._lock:
            if self._is_compared:
                return
            self._is_compared = True
            # Date is rounded down to a second, and from some time between request and response.
            offset = date + timedelta(seconds=0.5) - (received_at - took / 2)
            if abs(offset) <= NOTABLE_DIFFERENCE + took / 2:
                return
            self.offset = timedelta(seconds=round(offset.total_seconds()))
        self.on_difference(self.offset)


def parse_date(text: str) -> datetime | None:
    """Return the time of a header such as Date; None if it is missing or invalid."""
    from email.utils import parsedate_to_datetime

    try:
        read = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
