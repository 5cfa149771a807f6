"""Reads the reports that the pages of an instance and of a process show, and limits what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tokctl.analysis.redaction import Redactor
from tokctl.engines.protocol import process_filter
from tokctl.errors import NotFoundError
from tokctl.model.filters import SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.server.http_errors import HTTPError, instance_not_found
from tokctl.services.report import Report, ReportReader
from tokctl.store.protocol import Store
from tokctl.text import count

MAX_TOKENS = 20_000
"""Tokens that a page reads: about two seconds of work."""
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
        raise HTTPError(
            422,
            "UNPROCESSABLE_CONTENT",
            f"This page shows at most {count(MAX_TOKENS, 'token')}, and the instance has {status.total_tokens:,}. "
            "Use 'tokctl report'.",
        )
    return _make_reader(store, now, thresholds).read_instance(instance_id), status.instance.process_id


def read_process(
    store: Store, process_id: str, now: datetime, thresholds: Mapping[str, Any]
) -> tuple[Report, int, int]:
    """Read the report of the latest instances of a process; returns also how many it has, and how many there are.

    Raises:
        HTTPError: there is none, or each has too many tokens.
    """
    where = process_filter(process_id)
    latest = list(store.instances(where, SortOrder("started", descending=True), limit=MAX_INSTANCES))
    if not latest:
        raise HTTPError(404, "NOT_FOUND", f"There is no instance of the process {process_id}.")
    ids = _select(latest)
    total = store.count_instances(where)
    if not ids:
        raise HTTPError(422, "UNPROCESSABLE_CONTENT", f"Each instance has more than {count(MAX_TOKENS, 'token')}.")
    return _make_reader(store, now, thresholds).read_instances(ids, details=False), len(ids), total


def _select(latest: Iterable[InstanceStatus]) -> list[str]:
    """Return the ids of instances that have at most MAX_TOKENS together."""
    ids, tokens = [], 0
    for status in latest:
        if tokens + status.total_tokens <= MAX_TOKENS:
            ids.append(status.instance.instance_id)
            tokens += status.total_tokens
    return ids


def _make_reader(store: Store, now: datetime, thresholds: Mapping[str, Any]) -> ReportReader:
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: E731
    return ReportReader(store, now, source=SOURCE, redaction=Redactor(()), clock=clock, thresholds=thresholds)
