"""Reads the reports that the pages of an instance and of a process show, and limits what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tokctl.analysis.redaction import Redactor
from tokctl.engines.protocol import process_filter
from tokctl.errors import NotFoundError
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.server.http_errors import HTTPError, instance_not_found
from tokctl.services.report import Report, ReportReader
from tokctl.store.protocol import Store
from tokctl.text import count, size

MAX_TOKENS = 20_000
"""Tokens that a page reads: about two seconds of work."""
MAX_BYTES = 32_000_000
"""Bytes of variables and other JSON that a page reads; in memory they take several times as much."""
MAX_INSTANCES = 200
"""Instances of a process on its page."""
SOURCE = ("this server", "store")
"""Name and kind of the source: the location of the store is not for clients."""


def read_instance(
    store: Store, instance_id: str, now: datetime, thresholds: Mapping[str, Any]
) -> tuple[Report, str | None]:
    """Read the report of an instance; returns also the id of its process, None if it is unknown.

    Raises:
        HTTPError: there is no such instance, or it has too many tokens.
    """
    try:
        status = store.instance_totals(instance_id)
    except NotFoundError:
        raise instance_not_found(instance_id) from None
    if status.total_tokens > MAX_TOKENS:
        raise _too_large(f"{count(MAX_TOKENS, 'token')}, and the instance has {status.total_tokens:,}")
    if _measure(store, status, MAX_BYTES) > MAX_BYTES:
        raise _too_large(f"{size(MAX_BYTES)} of variables and other data, and the instance has more")
    return _make_reader(store, now, thresholds).read_instance(instance_id), status.instance.process_id


def read_process(
    store: Store, process_id: str, now: datetime, thresholds: Mapping[str, Any]
) -> tuple[Report, int, int]:
    """Read the report of the latest instances of a process; returns also how many it has, and how many there are.

    Raises:
        HTTPError: there is none, or each is too large.
    """
    where = process_filter(process_id)
    latest = list(store.instances(where, SortOrder("started", descending=True), limit=MAX_INSTANCES))
    if not latest:
        raise HTTPError(404, "NOT_FOUND", f"There is no instance of the process {process_id}.")
    ids = _select(store, latest)
    total = store.count_instances(where)
    if not ids:
        raise _too_large(f"{count(MAX_TOKENS, 'token')} and {size(MAX_BYTES)}, and each instance has more")
    return _make_reader(store, now, thresholds).read_instances(ids, details=False), len(ids), total


def _too_large(what: str) -> HTTPError:
    return HTTPError(422, "UNPROCESSABLE_CONTENT", f"This page shows at most {what}. Use 'tokctl report'.")


def _select(store: Store, latest: Iterable[InstanceStatus]) -> list[str]:
    """Return the ids of instances that have at most MAX_TOKENS and MAX_BYTES together."""
    ids, tokens, octets = [], 0, 0
    for status in latest:
        if tokens + status.total_tokens <= MAX_TOKENS:
            own = _measure(store, status, MAX_BYTES - octets)
            if octets + own <= MAX_BYTES:
                ids.append(status.instance.instance_id)
                tokens += status.total_tokens
                octets += own
    return ids


def _measure(store: Store, status: InstanceStatus, limit: int) -> int:
    """Return the bytes of JSON that an instance and its tokens have; the counting ends above a limit."""
    instance = status.instance
    octets = len(instance.variables) + sum(map(len, instance.extra.values()))
    for token in store.tokens(instance.instance_id, ALL_TOKENS, SortOrder("created")):
        octets += len(token.variables) + len(token.execution_context) + len(token.flow_history) + len(token.name)
        octets += sum(map(len, token.extra.values()))
        if octets > limit:
            break
    return octets


def _make_reader(store: Store, now: datetime, thresholds: Mapping[str, Any]) -> ReportReader:
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: E731
    return ReportReader(store, now, source=SOURCE, redaction=Redactor(()), clock=clock, thresholds=thresholds)
