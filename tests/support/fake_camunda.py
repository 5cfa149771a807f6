"""A small Camunda 7 or Operaton: real HTTP, and the rows that a real one sent, filtered as a real one filters them.

It ignores parameters that it does not know, as the real one does. Rows of an instance can be copied, to have many.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from support.replay_server import Answer, LoopbackServer, Request

Row = dict[str, Any]

TABLES = {
    "history/process-instance": "instances",
    "history/activity-instance": "activities",
    "history/variable-instance": "variables",
    "history/job-log": "job_log",
    "history/external-task-log": "external_task_log",
    "job": "jobs",
    "job-definition": "job_definitions",
    "external-task": "external_tasks",
    "incident": "incidents",
    "event-subscription": "subscriptions",
    "task": "tasks",
    "process-definition": "definitions",
    "process-instance": "runtime",
}
"""Path of a list → table."""
HISTORY = frozenset(name for path, name in TABLES.items() if path.startswith("history/"))
FULL_ONLY = frozenset({"variables", "job_log", "external_task_log"})

_NODE = "02fc0000000"  # in all recorded ids, which are UUIDs of version 1; long ids are cut after it


def _equals(name: str) -> Callable[[Row, str], bool]:
    return lambda row, value: row.get(name) == value


def _among(name: str) -> Callable[[Row, str], bool]:
    return lambda row, value: row.get(name) in value.split(",")


def _at(row: Row, name: str) -> datetime | None:
    return datetime.fromisoformat(row[name]) if row.get(name) else None


def _after(name: str) -> Callable[[Row, str], bool]:
    return lambda row, value: (time := _at(row, name)) is not None and time >= parse_filter_time(value)


def _before(name: str) -> Callable[[Row, str], bool]:
    return lambda row, value: (time := _at(row, name)) is not None and time <= parse_filter_time(value)


class BadParameterError(ValueError):
    """A value that the real server answers with 400."""


def parse_filter_time(text: str) -> datetime:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}", text):
        raise BadParameterError(f'Cannot set query parameter to value "{text}"')
    return datetime.fromisoformat(text)


FILTERS: dict[str, dict[str, Callable[[Row, str], bool]]] = {
    "instances": {
        "active": lambda row, _: row["state"] == "ACTIVE",
        "suspended": lambda row, _: row["state"] == "SUSPENDED",
        "completed": lambda row, _: row["state"] == "COMPLETED",
        "finished": lambda row, _: row["endTime"] is not None,
        "unfinished": lambda row, _: row["endTime"] is None,
        "processDefinitionKey": _equals("processDefinitionKey"),
        "processDefinitionKeyIn": _among("processDefinitionKey"),
        "processInstanceBusinessKey": _equals("businessKey"),
        "processInstanceBusinessKeyLike": lambda row, value: (
            re.fullmatch(".*".join(map(re.escape, value.split("%"))), row["businessKey"] or "") is not None
        ),
        "processInstanceIds": _among("id"),
        "startedBefore": _before("startTime"),
        "superProcessInstanceId": _equals("superProcessInstanceId"),
    },
    "activities": {
        "processInstanceId": _equals("processInstanceId"),
        "processDefinitionId": _equals("processDefinitionId"),
        "activityId": _equals("activityId"),
        "unfinished": lambda row, _: row["endTime"] is None,
        "finished": lambda row, _: row["endTime"] is not None,
        "startedAfter": _after("startTime"),
        "finishedAfter": _after("endTime"),
    },
    "variables": {
        "processInstanceId": _equals("processInstanceId"),
        "processInstanceIdIn": _among("processInstanceId"),
        "variableName": _equals("name"),
        "variableValue": _equals("value"),
    },
    "job_log": {"processInstanceId": _equals("processInstanceId")},
    "external_task_log": {"processInstanceId": _equals("processInstanceId")},
    "jobs": {"processInstanceId": _equals("processInstanceId"), "processInstanceIds": _among("processInstanceId")},
    "job_definitions": {"processDefinitionId": _equals("processDefinitionId")},
    "external_tasks": {
        "processInstanceId": _equals("processInstanceId"),
        "processInstanceIdIn": _among("processInstanceId"),
    },
    "incidents": {"processInstanceId": _equals("processInstanceId"), "incidentId": _equals("id")},
    "subscriptions": {"processInstanceId": _equals("processInstanceId")},
    "tasks": {"processInstanceId": _equals("processInstanceId"), "processInstanceIdIn": _among("processInstanceId")},
    "definitions": {"key": _equals("key"), "version": lambda row, value: row["version"] == int(value)},
    "runtime": {"processInstanceIds": _among("id")},
}
SORT_COLUMNS = {"startTime": "startTime", "endTime": "endTime", "definitionKey": "processDefinitionKey"}


class FakeCamunda(LoopbackServer):
    """Answers from the rows in a folder of recordings.

    Args:
        folder: of the recordings.
        root: of the API.
        level: of the history: full, activity (no variables, no logs) or none.
        max_results: the largest page that is allowed; lists without ``maxResults`` are then refused.
        ignored: parameters that this server does not know.
        user: the only one that may ask, ``name:password``.
        powerless: whether the user has no rights, and so sees empty lists.
        history_only: whether the user may read the history and nothing else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: str = "/engine-rest",
        level: str = "full",
        max_results: int | None = None,
        ignored: Iterable[str] = (),
        user: str | None = None,
        powerless: bool = False,
        history_only: bool = False,
    ) -> None:
        self.root = root
        self.level = level
        self.max_results = max_results
        self.ignored = frozenset(ignored)
        self.powerless = powerless
        self.history_only = history_only
        self.cases: dict[str, str] = json.loads((folder / "instances.json").read_text())
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES.values()}
        self.trees: dict[str, Row] = {}
        self.xml: dict[str, Row] = {}
        self.texts: dict[str, str] = {}
        self._load(folder)
        super().__init__(user=user)

    def _load(self, folder: Path) -> None:
        wanted = set(self.cases.values())
        for target, entry in json.loads((folder / "index.json").read_text()).items():
            if entry["status"] != 200 or target.startswith(("(", "POST ")):
                continue
            parts = urlsplit(target)
            path = unquote(parts.path).removeprefix("/engine-rest/")
            text = (folder / entry["file"]).read_text()
            if entry["content_type"] == "text/plain":
                self.texts[path] = text
                continue
            document = json.loads(text)
            if path.endswith("/xml"):
                self.xml[document["id"]] = document
            elif path.endswith("/activity-instances"):
                self.trees[document["id"]] = document
            else:
                self._load_rows(path, dict(parse_qsl(parts.query)), document, wanted)

    def _load_rows(self, path: str, query: dict[str, str], document: Any, wanted: set[str]) -> None:
        table = TABLES.get(path) or TABLES.get(path.rpartition("/")[0])
        rows = document if isinstance(document, list) else [document]
        if table is None or "activityStatistics" in query:
            return
        for row in rows:
            owner = row.get("processInstanceId") or (row.get("id") if table in {"instances", "runtime"} else None)
            if isinstance(row, dict) and "id" in row and (owner is None or owner in wanted):
                self.tables[table][row["id"]] = row

    # --- fewer and more instances ---

    def keep(self, *cases: str) -> None:
        """Remove all instances but some."""
        kept = {self.cases[case] for case in cases}
        for name, table in self.tables.items():
            owner = "id" if name in {"instances", "runtime"} else "processInstanceId"
            for key in [key for key, row in table.items() if row.get(owner, next(iter(kept))) not in kept]:
                del table[key]

    def copy_instance(self, case: str, copies: int) -> list[str]:
        """Add copies of a recorded instance with ids of their own; return the ids of the instances."""
        original = self.cases[case]
        shared = [key.rpartition(":")[2] for key in self.tables["definitions"]] + list(self.tables["job_definitions"])
        rows = [
            (table, row)
            for table in self.tables.values()
            for row in table.values()
            if original in {row.get("processInstanceId"), row.get("id")}
        ]
        made = []
        for number in range(1, copies + 1):
            node = f"02fc{number:07x}"

            def renew(value: Any, node: str = node) -> Any:
                if isinstance(value, dict):
                    return {key: renew(one) for key, one in value.items()}
                if isinstance(value, list):
                    return [renew(one) for one in value]
                if not isinstance(value, str) or _NODE not in value or any(one in value for one in shared):
                    return value
                return value.replace(_NODE, node)

            for table, row in rows:
                copy = renew(row)
                table[copy["id"]] = copy
            made.append(renew(original))
        return made

    # --- answers ---

    @property
    def counts(self) -> Counter[str]:
        """The number of requests by path, with ids left out."""
        return Counter(
            re.sub(r"/[^/]*[0-9a-f]{8}-[^/]*", "/ID", one.path.removeprefix(self.root + "/")) for one in self.requests
        )

    def respond(self, request: Request) -> Answer:
        path = request.path.removeprefix(self.root + "/")
        query = {name: value for name, value in request.query if name not in self.ignored}
        if request.path == "/engine-rest/engine":
            return Answer(200, [{"name": name} for name in ("default", "second")])
        if path.startswith("engine/") or (path == request.path and path.startswith("/engine-rest/engine/")):
            return Answer(400, {"type": "InvalidRequestException", "message": "No process engine available"})
        if path == request.path:
            return _missing("HTTP 404 Not Found", kind="NotFoundException")
        try:
            return self._answer(path, query)
        except BadParameterError as error:
            return Answer(400, {"type": "InvalidRequestException", "message": str(error), "code": None})

    def _answer(self, path: str, query: dict[str, str]) -> Answer:
        fixed = {"version": {"version": "1.0.3"}, "process-definition/statistics": self._statistics()}
        parent, _, name = path.rpartition("/")
        if path in fixed:
            return Answer(200, fixed[path])
        if path in self.texts:
            return Answer(200, self.texts[path].encode(), "text/plain")
        if path in TABLES:
            return Answer(200, self._page(self.select(TABLES[path], query), query))
        if name == "count" and parent in TABLES:
            return Answer(200, {"count": len(self.select(TABLES[parent], query))})
        return self._single(parent, name)

    def _single(self, parent: str, name: str) -> Answer:
        """Return one row, or a document that belongs to one."""
        documents = {"xml": self.xml, "activity-instances": self.trees}.get(name)
        key = parent.partition("/")[2] if documents is not None else name
        if documents is None and parent in TABLES:
            documents = {row["id"]: row for row in self.select(TABLES[parent], {})}
        if documents is None:
            return _missing("HTTP 404 Not Found", kind="NotFoundException")
        return Answer(200, documents[key]) if key in documents else _missing(f"{parent} with id {key} does not exist")

    def select(self, table: str, query: dict[str, str]) -> list[Row]:
        """Return the rows of a table that match a query, in the order that it asks for."""
        if self.powerless or (table in HISTORY and self.level == "none"):
            return []
        if self.history_only and table not in HISTORY:
            return []
        if table in FULL_ONLY and self.level == "activity":
            return []
        rows = list(self.tables[table].values())
        for name, value in query.items():
            if name == "incidentStatus":
                known = self.tables["incidents"].values() if self.level == "full" else ()  # those of the history
                failed = {row["processInstanceId"] for row in known}
                rows = [row for row in rows if row["id"] in failed]
            elif name == "activityIdIn":
                rows = [row for row in rows if self._leaves(row["id"]) & set(value.split(","))]
            elif name == "latestVersion":
                newest = {row["key"]: row["version"] for row in sorted(rows, key=lambda row: row["version"])}
                rows = [row for row in rows if newest[row["key"]] == row["version"]]
            elif name in FILTERS.get(table, {}):
                rows = [row for row in rows if FILTERS[table][name](row, value)]
        column = SORT_COLUMNS.get(query.get("sortBy", ""))
        if column is not None:
            rows.sort(key=lambda row: row[column] or "", reverse=query.get("sortOrder") == "desc")
        return rows

    def _leaves(self, instance: str) -> set[str]:
        """Return the activities at which an instance is: without scopes, with those that have not begun."""
        live = [
            row
            for row in self.tables["activities"].values()
            if row["processInstanceId"] == instance and row["endTime"] is None
        ]
        scopes = {row["parentActivityInstanceId"] for row in live}
        jobs = [row for row in self.tables["jobs"].values() if row["processInstanceId"] == instance]
        waiting = (self.tables["job_definitions"][row["jobDefinitionId"]]["activityId"] for row in jobs)
        return {row["activityId"] for row in live if row["id"] not in scopes} | set(waiting)

    def _statistics(self) -> list[Row]:
        live = Counter(row["processDefinitionId"] for row in self.select("instances", {"unfinished": "true"}))
        return [{"id": key, "instances": live[key]} for key in self.tables["definitions"]]

    def _page(self, rows: list[Row], query: dict[str, str]) -> list[Row]:
        if self.max_results is not None and "maxResults" not in query:
            raise BadParameterError("An unbound number of results is forbidden!")
        limit = int(query.get("maxResults", len(rows)))
        if self.max_results is not None and limit > self.max_results:
            raise BadParameterError(f"Max results limit of {self.max_results} exceeded!")
        start = int(query.get("firstResult", 0))
        return rows[start : start + limit]


def _missing(message: str, kind: str = "InvalidRequestException") -> Answer:
    return Answer(404, {"type": kind, "message": message, "code": None})
