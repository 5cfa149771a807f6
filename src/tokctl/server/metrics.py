"""Figures for Prometheus. A path never becomes a label as it came: there would be no end of them."""

from __future__ import annotations

import os
from collections import Counter as Counts
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from tokctl import __version__

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # set before this is imported, or not at all
UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The figures of a process; ``text`` tells those of all its siblings.

    What only grows is added up here and handed to prometheus-client now and then: its locks would cost a small
    answer a tenth of its time.
    """

    def __init__(self) -> None:
        self._folder = os.environ.get(FOLDER)
        self._registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("tokctl_http_requests", "Requests that were answered.",
                                 ("route", "method", "status"), **kept)  # fmt: skip
        self._seconds = Histogram("tokctl_http_request_duration_seconds", "From a request to the end of its answer.",
                                  ("route", "method"), buckets=_SECONDS, **kept)  # fmt: skip
        self._in_flight = Gauge("tokctl_http_requests_in_flight", "Requests that are being answered.",
                                multiprocess_mode="livesum", **kept)  # fmt: skip
        self._refused = Counter("tokctl_auth_failures", "Requests that were not authorised.", ("reason",), **kept)
        self._throttled = Counter("tokctl_auth_throttled", "Failed attempts that were turned away.", **kept)
        self._tokens = Counter("tokctl_tokens_sent", "Process tokens in answers.", **kept)
        self._bytes = Counter("tokctl_http_response_bytes", "Bytes of the bodies of answers.", **kept)
        Gauge("tokctl_build_info", "Which program this is.", ("version",), multiprocess_mode="max",
              **kept).labels(__version__).set(1)  # fmt: skip
        self._observers = lru_cache(maxsize=1024)(self._observer)
        self._counts: Counts[tuple[str, str, int]] = Counts()
        self._added = Counts[Counter]()
        self.in_flight = 0

    def _observer(self, route: str, method: str) -> Callable[[float], None]:
        return self._seconds.labels(route, method).observe

    def answered(self, route: str, method: str, status: int, seconds: float, size: int, tokens: int = 0) -> None:
        """Count an answer."""
        known = method if method in _METHODS else "other"
        self._observers(route, known)(seconds)
        self._counts[route, known, status] += 1
        self._added[self._bytes] += size
        if tokens:
            self._added[self._tokens] += tokens

    def refused(self, reason: str) -> None:
        """Count a request that was not authorised."""
        self._refused.labels(reason).inc()

    def throttled(self) -> None:
        """Count a failed attempt that was turned away."""
        self._throttled.inc()

    def hand_over(self) -> None:
        """Let others see what has been added up."""
        for (route, method, status), number in self._counts.items():
            self._requests.labels(route, method, str(status)).inc(number)
        for counter, number in self._added.items():
            counter.inc(number)
        self._counts.clear()
        self._added.clear()
        self._in_flight.set(self.in_flight)

    def text(self) -> bytes:
        """All figures in the text format."""
        self.hand_over()
        if self._folder is None:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, path=self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
