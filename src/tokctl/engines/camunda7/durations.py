"""How long the elements of a process took in its last instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

from tokctl.engines.camunda7.api import RestApi
from tokctl.engines.camunda7.documents import ActivityRow, format_filter_time
from tokctl.engines.camunda7.instances import InstanceFinder
from tokctl.engines.camunda7.reader import ACTIVITIES
from tokctl.model.filters import InstanceFilter, SortOrder

MAX_COMPARED_VISITS = 20_000
"""Maximum number of finished visits of a model that durations are taken from, the latest ones."""


def read_durations(
    api: RestApi, finder: InstanceFinder, process_id: str | None, elements: Collection[str] | None, instances: int
) -> Iterator[tuple[str, str, float]]:
    """Yield (instance id, element id, ms) of completed visits in the last instances of a process, the last one first.

    At most MAX_COMPARED_VISITS of each version of the process are read.
    """
    where = InstanceFilter(processes=(process_id,) if process_id else ())
    order = SortOrder("started", descending=True)
    last = list(finder.page(where, order, limit=instances, offset=0) or ())
    rank = {one.instance_id: number for number, one in enumerate(last)}
    starts = [one.started_at for one in last if one.started_at is not None]
    found: list[tuple[int, ActivityRow]] = []
    for model in {one.process_key for one in last if one.process_key} if starts else ():
        params = {"processDefinitionId": model, "finished": "true", "sortBy": "endTime", "sortOrder": "desc"}
        params["startedAfter"] = format_filter_time(min(starts) - timedelta(milliseconds=1))
        if elements is not None and len(elements) == 1:
            params["activityId"] = next(iter(elements))
        rows = api.get_page(ACTIVITIES, ActivityRow, params, limit=MAX_COMPARED_VISITS)
        found += [(rank[row.process_instance_id], row) for row in rows if row.process_instance_id in rank]
    for _, row in sorted(found, key=lambda one: one[0]):
        wanted = elements is None or row.element_id in elements
        if wanted and not row.canceled and not row.is_body and row.duration_in_millis is not None:
            yield row.process_instance_id, row.element_id, row.duration_in_millis
