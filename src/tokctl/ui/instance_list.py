"""The list of process instances: those with problems first, or a page of those that match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from glob import escape
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.model.filters import InstanceFilter, SortOrder, StuckLimits
from tokctl.model.instance_status import InstanceStatus
from tokctl.server.endpoint import Query
from tokctl.store.protocol import Store

OVERVIEW, FAILED, STUCK, ALL = "overview", "failed", "stuck", "all"
LISTS = {FAILED: "Failed", STUCK: "Stuck", ALL: "All instances"}
"""The lists by the value of the parameter ``show``, with their headings. OVERVIEW is the first rows of each."""
FIRST_ROWS = 20
PAGE_ROWS = 100
_NEWEST = SortOrder("started", descending=True)


class ListSection(Struct, frozen=True, kw_only=True):
    """Rows of a list with its heading, from an ``offset``. ``total`` is None if it is unknown, but there are more.

    ``show`` is the value of the parameter that shows the list alone; None if there is no such list.
    """

    title: str
    show: str | None
    rows: list[InstanceStatus]
    offset: int
    total: int | None

    @property
    def end(self) -> int:
        """The offset of the next page."""
        return self.offset + len(self.rows)

    @property
    def has_more(self) -> bool:
        """Whether there is a next page."""
        return self.total is None or self.end < self.total


def read_sections(store: Store, query: Query, thresholds: Mapping[str, timedelta]) -> list[ListSection]:
    """Read the lists that a query asks for."""
    values = query.values
    where = _make_filter(values)
    filters = {
        FAILED: replace(where, failed=True),
        STUCK: replace(where, stuck=StuckLimits(query.now, thresholds["long_running"], thresholds["stuck_gateway"])),
        ALL: where,
    }
    if (show := values["show"]) != OVERVIEW:
        return [_read_section(store, show, filters[show], values["offset"], PAGE_ROWS)]
    sections = [_read_section(store, name, one, 0, FIRST_ROWS) for name, one in filters.items()]
    return [*_find_by_id(store, values["text"]), *sections]


def _make_filter(values: Mapping[str, Any]) -> InstanceFilter:
    text: str = values["text"]
    return InstanceFilter(
        statuses=(values["status"],) if values["status"] else (),
        processes=(values["process"],) if values["process"] else (),
        business_keys=(f"*{escape(text)}*",) if text else (),
    )


def _read_section(store: Store, show: str, where: InstanceFilter, offset: int, limit: int) -> ListSection:
    return ListSection(
        title=LISTS[show],
        show=show,
        rows=list(store.instances(where, _NEWEST, limit=limit, offset=offset)),
        offset=offset,
        total=store.count_instances(where),
    )


def _find_by_id(store: Store, prefix: str) -> Iterable[ListSection]:
    """Yield the list of the instances whose ids begin with a text, unless it is empty."""
    if prefix:
        ids = store.instance_ids(prefix, FIRST_ROWS + 1)
        rows = [store.instance(one) for one in ids[:FIRST_ROWS]]
        total = len(rows) if len(ids) <= FIRST_ROWS else None
        yield ListSection(title=f"Ids that begin with {prefix}", show=None, rows=rows, offset=0, total=total)
