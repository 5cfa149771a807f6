"""How long the elements of a process took in its last instances.

The first processes are read one by one. If more are asked for, the finished visits of all processes are read at once,
unless they are too many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from tokctl.engines.camunda7.api import RestApi
from tokctl.engines.camunda7.documents import ActivityRow, format_filter_time, split_definition_id, to_time
from tokctl.engines.camunda7.instances import InstanceFinder
from tokctl.engines.camunda7.reader import ACTIVITIES
from tokctl.model.filters import InstanceFilter, SortOrder
from tokctl.model.times import EPOCH

MAX_COMPARED_VISITS = 20_000
"""Maximum number of finished visits of a model that durations are taken from, the latest ones."""
SINGLE_PROCESSES = 2
"""Number of processes that are read one by one."""

_Visits = dict[str, list[ActivityRow]]
"""Finished visits by instance, the last instance first."""


class CamundaDurations:
    """Reads durations. What was read of all processes at once is kept until ``forget``."""

    def __init__(self, api: RestApi, finder: InstanceFinder) -> None:
        self._api = api
        self._finder = finder
        self._swept: dict[str, _Visits] | None = None
        self._asked = 0

    def forget(self) -> None:
        """Forget what was read."""
        self._swept, self._asked = None, 0

    def read(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield (instance id, element id, ms) of completed visits in the last instances of a process, last one first.

        At most MAX_COMPARED_VISITS of each version of the process are read.
        """
        self._asked += 1
        if self._asked == SINGLE_PROCESSES + 1:
            self._swept = self._sweep()
        if process_id is not None and self._swept is not None:
            found = self._swept.get(process_id, {})
        else:
            found = self._read_process(process_id, elements, instances)
        for key in list(found)[:instances]:
            for row in found[key]:
                wanted = elements is None or row.element_id in elements
                if wanted and not row.canceled and not row.is_body and row.duration_in_millis is not None:
                    yield key, row.element_id, row.duration_in_millis

    def _sweep(self) -> dict[str, _Visits] | None:
        """Read the finished visits of all processes; None if they are too many, or tell no process."""
        params = {"finished": "true"}
        if self._api.count(ACTIVITIES, params) > MAX_COMPARED_VISITS:
            return None
        rows = self._api.get_all_rows(ACTIVITIES, ActivityRow, params)
        begun: dict[str, datetime] = {}
        for row in rows:
            start = to_time(row.start_time) or EPOCH
            begun[row.process_instance_id] = min(start, begun.get(row.process_instance_id, start))
        several: dict[str, _Visits] = {}
        for row in sorted(rows, key=lambda one: begun[one.process_instance_id], reverse=True):
            process_id = split_definition_id(row.process_definition_id or "")[0]
            if process_id is None:
                return None
            several.setdefault(process_id, {}).setdefault(row.process_instance_id, []).append(row)
        return several

    def _read_process(self, process_id: str | None, elements: Collection[str] | None, instances: int) -> _Visits:
        """Read the last instances of a process, and the finished visits of each of its versions."""
        where = InstanceFilter(processes=(process_id,) if process_id else ())
        order = SortOrder("started", descending=True)
        last = list(self._finder.page(where, order, limit=instances, offset=0) or ())
        found: _Visits = {one.instance_id: [] for one in last}
        starts = [one.started_at for one in last if one.started_at is not None]
        models: Iterable[str] = {one.process_key for one in last if one.process_key} if starts else ()
        for model in models:
            params = {"processDefinitionId": model, "finished": "true", "sortBy": "endTime", "sortOrder": "desc"}
            params["startedAfter"] = format_filter_time(min(starts) - timedelta(milliseconds=1))
            if elements is not None and len(elements) == 1:
                params["activityId"] = next(iter(elements))
            for row in self._api.get_page(ACTIVITIES, ActivityRow, params, limit=MAX_COMPARED_VISITS):
                if row.process_instance_id in found:
                    found[row.process_instance_id].append(row)
        return found
