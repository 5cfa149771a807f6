"""How long the elements of a process took in its last instances.

Instances that are running may be at hand; those that have ended are read at once if they are few, else process by
process. A cancelled visit has no duration to compare with, so flows and ends are needed, not durations alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter

from tokctl.engines.flowable.api import FINISHED_ACTIVITIES, HISTORIC_INSTANCES, PAGE_SIZE, FlowableApi
from tokctl.engines.flowable.documents import FlowableInstance, FlowableRows, to_instance
from tokctl.engines.flowable.models import FlowableModels
from tokctl.engines.flowable.rows import RowReader
from tokctl.engines.flowable.tokens import FlowableTokenBuilder
from tokctl.model.instances import Instance
from tokctl.model.times import EPOCH

_ROWS_PER_INSTANCE = 5
"""The least that a useful instance has: two events, an activity and two flows."""
_Dated = tuple[datetime, Instance, FlowableRows | None]
"""When an instance started, the instance, and its rows if they are there."""


class DurationReader:
    """Reads durations. What was read of all processes at once is kept until ``forget``."""

    def __init__(self, api: FlowableApi, models: FlowableModels, rows: RowReader) -> None:
        self._api = api
        self._models = models
        self._rows = rows
        self._swept: Mapping[str | None, Sequence[_Dated]] | None = None
        self._has_swept = False

    def forget(self) -> None:
        """Forget what was read."""
        self._swept, self._has_swept = None, False

    def read(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield (instance id, element id, ms) of completed visits in the last instances of a process, last one first.

        At most a page of the activities of each version of the process is read.
        """
        if process_id is None:
            return
        if not self._has_swept:
            self._swept, self._has_swept = self._sweep(), True
        found = self._read_process(process_id, instances) if self._swept is None else self._swept.get(process_id, ())
        for _, instance, rows in found[:instances]:
            if rows is not None:
                model = self._models.load(instance.process_key or "")
                for element_id, took in FlowableTokenBuilder(instance, rows, model).durations():
                    if elements is None or element_id in elements:
                        yield instance.instance_id, element_id, took

    def _sweep(self) -> Mapping[str | None, Sequence[_Dated]] | None:
        """Return the instances of all processes, the last ones first; None if too many have ended to read them all."""
        running = self._rows.running
        if running is None:
            return None
        found = [(one.started_at or EPOCH, one, self._rows.find(one)) for one in running]
        ended = self._count_ended()
        if ended is None:
            return None
        if ended:
            rows, _ = self._api.get_page(HISTORIC_INSTANCES, FlowableInstance, {"finished": "true"})
            activities = self._api.get_latest_rows(FINISHED_ACTIVITIES, {})
            found += [self._to_dated(row, activities) for row in rows]
        several: dict[str | None, list[_Dated]] = {}
        for one in sorted(found, key=itemgetter(0), reverse=True):
            several.setdefault(one[1].process_id, []).append(one)
        return several

    def _count_ended(self) -> int | None:
        """Return the number of instances that have ended; None if their activities are more than a page."""
        _, ended = self._api.get_page(HISTORIC_INSTANCES, FlowableInstance, {"finished": "true"}, size=0)
        if ended * _ROWS_PER_INSTANCE > PAGE_SIZE or (ended and self._api.count(FINISHED_ACTIVITIES) > PAGE_SIZE):
            return None
        return ended

    def _read_process(self, process_id: str, instances: int) -> list[_Dated]:
        """Read the last instances of a process: one request for them, and one for each version that was not at hand."""
        last = {"processDefinitionKey": process_id, "sort": "startTime", "order": "desc"}
        rows, _ = self._api.get_page(HISTORIC_INSTANCES, FlowableInstance, last, size=instances)
        at_hand = {row.id: own for row in rows if (own := self._rows.find(self._to_dated(row, {})[1])) is not None}
        finished: dict[str, FlowableRows] = {}
        for definition_id in dict.fromkeys(row.process_definition_id for row in rows if row.id not in at_hand):
            finished |= self._rows.fetch_finished(definition_id)
        return [self._to_dated(row, finished | at_hand) for row in rows]

    def _to_dated(self, row: FlowableInstance, rows: Mapping[str, FlowableRows]) -> _Dated:
        instance = to_instance(row, self._models.name(row.process_definition_id), suspended=False)
        return instance.started_at or EPOCH, instance, rows.get(row.id)
