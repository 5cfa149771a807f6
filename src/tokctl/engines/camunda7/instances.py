"""Finds instances: what the server can select is selected there, and everything is checked on what comes back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice

from msgspec.structs import replace

from tokctl.engines.camunda7.api import PAGE_SIZE, RestApi, run_together
from tokctl.engines.camunda7.documents import (
    ActivityRow,
    HistoricInstanceRow,
    IncidentRow,
    RuntimeInstanceRow,
    VariableRow,
    format_filter_time,
    to_time,
)
from tokctl.engines.camunda7.filters import PushedFilter, push_down, sort_params
from tokctl.engines.camunda7.models import ModelLoader
from tokctl.engines.camunda7.reader import ACTIVITIES, InstanceReader, is_ended
from tokctl.engines.camunda7.scopes import encode_variables
from tokctl.engines.camunda7.tokens import read_instance
from tokctl.engines.connect import warn
from tokctl.errors import NotFoundError
from tokctl.model.filters import InstanceFilter, SortOrder
from tokctl.model.instance_status import MAX_LIVE_ELEMENTS, InstanceStatus, status_without_tokens
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, SUSPENDED
from tokctl.model.tokens import NULL
from tokctl.model.variables import VariableCondition

INSTANCES = "history/process-instance"
_RUNTIME = "process-instance"
_BY_IDS = "processInstanceIds"
_BY_START = {"sortBy": "startTime", "sortOrder": "asc"}
_CHECKED_INSTANCES = 1000
"""Maximum number of live instances that rights are checked for if incidents are looked for."""
_MILLISECOND = timedelta(milliseconds=1)


class InstanceFinder:
    """Lists instances and fetches single ones."""

    def __init__(self, api: RestApi, models: ModelLoader, reader: InstanceReader) -> None:
        self._api = api
        self._models = models
        self._reader = reader

    # --- one instance ---

    def fetch(self, instance_id: str) -> Instance:
        """Fetch one instance. Raises NotFoundError."""
        try:
            row = self._api.get_document((*INSTANCES.split("/"), instance_id), HistoricInstanceRow)
        except NotFoundError:
            live = self._api.get_document((_RUNTIME, instance_id), RuntimeInstanceRow)
            return self._without_history([live])[0]
        return self._read(row)

    def latest(self) -> Instance | None:
        """Return the instance that started last; of several, the one with the last id."""
        order = SortOrder("started", descending=True)
        found = list(self.page(InstanceFilter(), order, limit=10, offset=0) or ())
        last = [one for one in found if one.started_at == found[0].started_at]
        return max(last, key=lambda one: one.instance_id, default=None)

    def _read(self, row: HistoricInstanceRow) -> Instance:
        self._models.note(row.process_definition_id, row.process_definition_key, row.process_definition_version)
        return read_instance(row)

    # --- many instances ---

    def find(self, where: InstanceFilter, among: Iterable[str] | None = None) -> Iterator[Instance]:
        """Yield every instance that matches, in order of start; only some ids if ``among`` has them.

        Conditions on tokens are not checked.
        """
        touched = None if where.since is None else self._find_touched(where.since)
        variables = [self._find_variables(condition) for condition in where.variables]
        chosen: list[Iterable[str]] = [*variables]
        if where.failed:
            self._check_rights_to_incidents()
            chosen.append(self._reader.all_incidents())
        if touched is not None:
            chosen.append(touched)
        if among is not None:
            chosen.append(among)
        params = push_down(where).params
        if chosen:
            ids = sorted(set.intersection(*map(set, chosen)))
            rows = self._api.get_rows_of(INSTANCES, HistoricInstanceRow, ids, _BY_IDS, params)
            named = set(ids)
            found = iter(sorted((self._read(row) for row in rows if row.id in named), key=_start))
            if not rows:
                found = self._find_elsewhere(where)
        else:
            found = self._iter_pages(params | _BY_START, where)
        listed: set[str] = set()
        for instance in chain(found, self._find_lost(listed, where)):
            listed.add(instance.instance_id)
            given = replace(
                instance,
                updated_at=instance.updated_at or (touched or {}).get(instance.instance_id),
                variables=encode_variables(row for one in variables for row in one.get(instance.instance_id, ())),
            )
            if self._matches(where, given):
                yield replace(given, variables=NULL)  # there are more than those that were looked for

    def page(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None, offset: int
    ) -> Iterator[Instance] | None:
        """Yield instances in order, sorted and paged by the server; None if it cannot."""
        by = sort_params(order)
        if by is None or where.since is not None or where.variables or where.failed or where.stuck is not None:
            return None
        pushed = push_down(where)
        return self._iter_page(where, pushed, by, limit, offset)

    def _iter_page(
        self, where: InstanceFilter, pushed: PushedFilter, by: Mapping[str, str], limit: int | None, offset: int
    ) -> Iterator[Instance]:
        start, skip = (offset, 0) if pushed.exact else (0, offset)
        size = min(PAGE_SIZE, limit) if limit and pushed.exact else PAGE_SIZE
        found = self._iter_pages({**pushed.params, **by}, where, offset=start, size=size)
        matching = (instance for instance in found if self._matches(where, instance))
        return islice(matching, skip, None if limit is None else skip + limit)

    def _iter_pages(
        self, params: Mapping[str, str], where: InstanceFilter, *, offset: int = 0, size: int = PAGE_SIZE
    ) -> Iterator[Instance]:
        """Yield the instances of a list, each once; a list without any is explained."""
        known: set[str] = set()
        place = offset
        while True:
            rows = self._api.get_page(INSTANCES, HistoricInstanceRow, params, offset=place, limit=size)
            new = [self._read(row) for row in rows if row.id not in known]
            known.update(row.id for row in rows)
            yield from sorted(new, key=_start) if params.get("sortBy") == "startTime" and _is_ascending(params) else new
            place += len(rows)
            if not new or len(rows) < min(size, self._api.page_size or size):
                break
        if not known and not offset:
            yield from self._find_elsewhere(where)

    def count(self, where: InstanceFilter) -> int | None:
        """Count the instances that match; None if the server cannot tell without sending them."""
        pushed = push_down(where)
        if not pushed.exact or where.failed or self._reader.without_history:
            return None
        return self._api.count(INSTANCES, pushed.params)

    # --- checks on instances ---

    def _matches(self, where: InstanceFilter, instance: Instance) -> bool:
        """Tell whether an instance matches a filter, conditions on tokens aside."""
        if (where.live or where.open) and is_ended(instance):
            return False
        if where.failed and instance.instance_id not in self._reader.all_incidents():
            return False
        rest = replace(where, live=False, open=False, failed=False, stuck=None)
        return rest.matches(status_without_tokens(instance))

    def status(self, instance: Instance) -> InstanceStatus:
        """Return the status of an instance with its incidents; nothing else is known of its tokens."""
        status = status_without_tokens(instance)
        incidents = [] if is_ended(instance) else self._reader.all_incidents().get(instance.instance_id, [])
        if not incidents:
            return replace(status, incidents_known=is_ended(instance) or self._reader.sees_incidents(instance))
        ordered = sorted(incidents, key=lambda one: (one.incident_timestamp or "", one.id))
        elements = dict.fromkeys(one.activity_id for one in ordered if one.activity_id)
        return replace(
            status,
            failed_tokens=len({_place(one) for one in incidents}),
            first_error=next((one.incident_message for one in ordered if one.incident_message), None),
            live_elements=tuple(elements)[:MAX_LIVE_ELEMENTS],
            updated_at=max(filter(None, (status.updated_at, to_time(ordered[-1].incident_timestamp))), default=None),
        )

    # --- filters that other lists answer ---

    def _find_touched(self, since: datetime) -> dict[str, datetime]:
        """Return the instances in which something happened since a time, with the latest time."""
        after = format_filter_time(since - _MILLISECOND)
        started, finished = run_together(
            [
                lambda: self._api.get_all_rows(ACTIVITIES, ActivityRow, {"startedAfter": after}),
                lambda: self._api.get_all_rows(ACTIVITIES, ActivityRow, {"finishedAfter": after}),
            ]
        )
        latest: dict[str, datetime] = {}
        times = [
            (row.process_instance_id, text) for row in (*started, *finished) for text in (row.start_time, row.end_time)
        ]
        times += [(key, row.incident_timestamp) for key, rows in self._reader.all_incidents().items() for row in rows]
        for key, text in times:
            time = to_time(text)
            if time is not None and time >= since and (key not in latest or time > latest[key]):
                latest[key] = time
        return latest

    def _find_variables(self, condition: VariableCondition) -> dict[str, list[VariableRow]]:
        """Return the variables that may match a condition by instance. The server compares texts only."""
        is_text = condition.values == (condition.value,) and condition.value not in {"true", "false", "null"}
        pushed = (
            {"variableValue": condition.value}
            if is_text and not condition.is_pattern and "." not in condition.name
            else {}
        )
        found: dict[str, list[VariableRow]] = {}
        for name in {condition.name, condition.name.partition(".")[0]}:
            params = {"variableName": name, "deserializeValues": "false", **pushed}
            for row in self._api.get_all_rows("history/variable-instance", VariableRow, params):
                if row.name == name and row.process_instance_id == row.activity_instance_id is not None:
                    found.setdefault(row.process_instance_id or "", []).append(row)
        if not found and not (
            pushed and self._api.count("history/variable-instance", {"variableName": condition.name})
        ):
            warn(
                f"No instance has a variable '{condition.name}'. "
                "The engine keeps no variables at history level 'activity' or below."
            )
        return found

    # --- nothing found ---

    def _check_rights_to_incidents(self) -> None:
        """Warn if there are no incidents because those of live instances are hidden."""
        if not self._reader.all_incidents() and self._api.client.connection.credential() is not None:
            params = {"unfinished": "true", "sortBy": "startTime", "sortOrder": "desc"}
            rows = self._api.get_page(INSTANCES, HistoricInstanceRow, params, limit=_CHECKED_INSTANCES)
            self._reader.check_rights([self._read(row) for row in rows])

    def _find_elsewhere(self, where: InstanceFilter) -> Iterator[Instance]:
        """Explain an empty list: nothing matches, the engine keeps no history, or the credential lacks rights."""
        if where != InstanceFilter() and self._api.count(INSTANCES):
            return
        rows = self._api.get_all_rows(_RUNTIME, RuntimeInstanceRow)
        if not rows:
            self._api.check_rights()
            return
        yield from (one for one in self._without_history(rows) if self._matches(where, one))

    def _find_lost(self, listed: Collection[str], where: InstanceFilter) -> Iterator[Instance]:
        """Yield live instances whose history was cleaned up, as far as their incidents tell of them.

        The engine removes the history of live instances, too, if their removal time follows from when they started.
        """
        if where.statuses and not {ACTIVE, SUSPENDED} & set(where.statuses):
            return
        suspects = self._reader.all_incidents().keys() - listed
        if not suspects:
            return
        live = self._api.get_all_rows(_RUNTIME, RuntimeInstanceRow, {"withIncident": "true"})
        fitting = [row for row in live if row.id in suspects and self._matches(where, self._read(row.to_historic()))]
        ids = [row.id for row in fitting]
        known = {row.id for row in self._api.get_rows_of(INSTANCES, HistoricInstanceRow, ids, _BY_IDS)}
        yield from self._without_history([row for row in fitting if row.id not in known])

    def _without_history(self, rows: Sequence[RuntimeInstanceRow]) -> list[Instance]:
        if rows:
            warn(
                "The engine has no history of live instances: it keeps none, has cleaned it up, or the credential may "
                "not read it. Only their live tokens are shown, without times."
            )
        self._reader.without_history.update(row.id for row in rows)
        return [self._read(row.to_historic()) for row in rows]


def _start(instance: Instance) -> tuple[bool, datetime | int, str]:
    return instance.started_at is not None, instance.started_at or 0, instance.instance_id


def _is_ascending(params: Mapping[str, str]) -> bool:
    return params.get("sortOrder") == "asc"


def _place(incident: IncidentRow) -> tuple[str | None, str | None]:
    """Return what tells the tokens of incidents apart."""
    return incident.execution_id, incident.activity_id
