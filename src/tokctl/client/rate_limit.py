"""Limits the rate of the requests of this process to one server.

The generic cell rate algorithm (ITU-T I.371): a burst of a tenth of the limit goes out at once, further requests are
spread evenly. In no period of the limit's length are more requests sent than the limit allows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tokctl.model.durations import format_duration
from tokctl.model.rates import RequestRate
from tokctl.verbose_log import TRAFFIC, trace

BURST_SHARE = 10
"""Which part of the limit may be sent at once: a tenth, but at least one request."""


class RateLimiter:
    """Spreads requests over time. Several threads may use it at once.

    ``clock`` returns seconds, ``sleep`` waits for a number of them.
    """

    def __init__(
        self,
        rate: RequestRate,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        burst = max(1, rate.requests // BURST_SHARE)
        self._interval = rate.seconds / (rate.requests - burst + 1)
        self._tolerance = (burst - 1) * self._interval
        self._next = float("-inf")  # when the next request would be due without a burst

    def wait(self) -> None:
        """Wait until the next request may be sent, and count it."""
        with self._lock:
            now = self._clock()
            due = max(self._next, now)
            self._next = due + self._interval
        delay = due - self._tolerance - now
        if delay > 1e-6:  # less is a rounding error
            trace("waiting %s: the rate is limited to %s", format_duration(delay), self.rate)
            TRAFFIC.count_wait(delay)
            self._sleep(delay)


_limiters: dict[tuple[str, RequestRate], RateLimiter] = {}
_lock = threading.Lock()


def rate_limiter(origin: str, rate: RequestRate) -> RateLimiter:
    """Return the limiter of a server in this process: all clients of the same origin share it."""
    with _lock:
        return _limiters.setdefault((origin, rate), RateLimiter(rate))
