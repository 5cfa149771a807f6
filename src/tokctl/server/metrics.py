"""Prometheus metrics. Labels use path templates, never the paths of requests: their number would be unbounded."""

from __future__ import annotations

import os
from collections import Counter as Counts
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from tokctl.errors import MissingStoreError, StoreError, UnreachableStoreError, WrongStoreError
from tokctl.server.store_collector import StoreCollector
from tokctl.server.workers import METRICS_FOLDER
from tokctl.store.protocol import StoreLevels
from tokctl.version import __version__

UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_STORE_ERRORS = {UnreachableStoreError: "unreachable", MissingStoreError: "missing", WrongStoreError: "wrong"}


class Metrics:
    """The metrics of a process; ``render`` returns those of all workers.

    Counts are added up here and passed to prometheus-client at intervals: its locks would cost a tenth of the time of a
    small response.
    """

    def __init__(self) -> None:
        self._folder = os.environ.get(METRICS_FOLDER)
        self._registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter(
            "tokctl_http_requests", "Completed HTTP requests.", ("route", "method", "status"), **kept
        )
        self._seconds = Histogram(
            "tokctl_http_request_duration_seconds",
            "Time from the request to the end of its response.",
            ("route", "method"),
            buckets=_SECONDS,
            **kept,
        )
        self._in_flight = Gauge(
            "tokctl_http_requests_in_flight", "HTTP requests in progress.", multiprocess_mode="livesum", **kept
        )
        self._refused = Counter("tokctl_auth_failures", "Failed authentications.", ("reason",), **kept)
        self._throttled = Counter("tokctl_auth_throttled", "Failed authentications that were throttled.", **kept)
        self._store_errors = Counter(
            "tokctl_store_errors", "Requests that failed because of the store.", ("operation", "kind"), **kept
        )
        for operation in ("read", "write"):  # from zero on: Prometheus sees the first error as an increase
            for kind in (*_STORE_ERRORS.values(), "other"):
                self._store_errors.labels(operation, kind)
        self._store_seconds = Histogram(
            "tokctl_store_operation_duration_seconds",
            "Time of an operation of the store: reading a piece of a response, asking for its state, writing.",
            ("operation",),
            buckets=_SECONDS,
            **kept,
        )
        self._tokens = Counter("tokctl_tokens_sent", "Process tokens in responses.", **kept)
        self._bytes = Counter("tokctl_http_response_bytes", "Size of response bodies in bytes.", **kept)
        Gauge("tokctl_build_info", "Version of tokctl.", ("version",), multiprocess_mode="max", **kept).labels(
            __version__
        ).set(1)
        self._observers = lru_cache(maxsize=1024)(self._get_observer)
        self._counts: Counts[tuple[str, str, int]] = Counts()
        self._added = Counts[Counter]()
        self.in_flight = 0

    def _get_observer(self, route: str, method: str) -> Callable[[float], None]:
        return self._seconds.labels(route, method).observe

    def count_response(self, route: str, method: str, status: int, seconds: float, size: int, tokens: int = 0) -> None:
        """Count a response."""
        known = method if method in _METHODS else "other"
        self._observers(route, known)(seconds)
        self._counts[route, known, status] += 1
        self._added[self._bytes] += size
        if tokens:
            self._added[self._tokens] += tokens

    def count_auth_failure(self, reason: str) -> None:
        """Count a failed authentication."""
        self._refused.labels(reason).inc()

    def count_throttled(self) -> None:
        """Count a failed authentication that was throttled."""
        self._throttled.inc()

    def count_store_error(self, operation: str, error: StoreError) -> None:
        """Count a request that failed because the store could not be read or written."""
        kind = next((kind for type_, kind in _STORE_ERRORS.items() if isinstance(error, type_)), "other")
        self._store_errors.labels(operation, kind).inc()

    def observe_store(self, operation: str, seconds: float) -> None:
        """Record the time of an operation of the store; threads may call this."""
        self._store_seconds.labels(operation).observe(seconds)

    def flush(self) -> None:
        """Pass the counts to prometheus-client."""
        for (route, method, status), number in self._counts.items():
            self._requests.labels(route, method, str(status)).inc(number)
        for counter, number in self._added.items():
            counter.inc(number)
        self._counts.clear()
        self._added.clear()
        self._in_flight.set(self.in_flight)

    def render(self, levels: StoreLevels | None) -> bytes:
        """Return the metrics of all workers, and those of the store, in the Prometheus text format.

        ``levels`` is None if the store cannot be read.
        """
        self.flush()
        together = CollectorRegistry()
        together.register(StoreCollector(levels))
        if self._folder is None:
            return generate_latest(self._registry) + generate_latest(together)
        multiprocess.MultiProcessCollector(together, path=self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
