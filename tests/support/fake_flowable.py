"""A little Flowable: a real HTTP server that answers out of the rows of a real one, with its filters and pages.

Lists have 10 rows unless ``size`` says more, parameters that they do not know are ignored, an unknown path is a 500.
The recorded instances can be multiplied, each copy with ids of its own.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from support.paths import RECORDINGS
from support.replay_server import Answer, LoopbackServer, Request

RECORDED = RECORDINGS / "flowable"
CASES: dict[str, str] = json.loads((RECORDED / "instances.json").read_text())
"""Name of the case → id of the instance."""
PROCESS_ROOT, EXTERNAL_ROOT = "/process-api/", "/external-job-api/"

_OWN_ID = re.compile(r"(?<![:\w])([0-9a-f]{8}-eb4a-11f1-aada-02fc)00000001")
"""An id in a recording, unless it is a part of a definition's."""
_FILES = {
    "history/historic-process-instances": "history",
    "history/historic-activity-instances": "activities",
    "history/historic-task-instances": "historytasks",
    "history/historic-variable-instances": "variables",
    "runtime/process-instances": "runtime",
    "runtime/executions": "executions",
    "runtime/event-subscriptions": "subscriptions",
    "runtime/tasks": "tasks",
    "management/jobs": "jobs",
    "management/timer-jobs": "timers",
    "management/deadletter-jobs": "dead",
    "management/suspended-jobs": "suspended",
    "external": "external",
}
_SORTS = {
    "history/historic-process-instances": {"startTime": "startTime", "processInstanceId": "id", "endTime": "endTime"},
    "history/historic-activity-instances": {"startTime": "startTime", "activityInstanceId": "id"},
}


def copy_id(recorded: str, copy: int) -> str:
    """Return the id of a copy of a recorded instance, activity or job."""
    return _OWN_ID.sub(rf"\g<1>{copy:08x}", recorded)


class FakeFlowable(LoopbackServer):
    """Serves ``copies`` of the recorded ``cases``, or of those that are ``copied``; copy 1 has the recorded ids.

    ``external`` is the status of the API for external workers; ``refused`` are beginnings of paths that the user has
    no rights for.
    """

    def __init__(
        self,
        *,
        copies: int = 1,
        cases: tuple[str, ...] = tuple(CASES),
        copied: tuple[str, ...] | None = None,
        external: int = 200,
        refused: tuple[str, ...] = (),
        user: str | None = None,
    ) -> None:
        self.external = external
        self.refused = refused
        self.lists: dict[str, list[dict[str, Any]]] = {
            path: _read(file, {case: copies if copied is None or case in copied else 1 for case in cases})
            for path, file in _FILES.items()
        }
        self.lists["repository/process-definitions"] = json.loads((RECORDED / "definitions.json").read_text())["data"]
        self.ended = {row["id"] for row in self.lists["history/historic-process-instances"] if row["endTime"]}
        activities = self.lists["history/historic-activity-instances"]
        self.lists["runtime/activity-instances"] = [
            row for row in activities if row["processInstanceId"] not in self.ended
        ]
        self.unfiltered: frozenset[str] = frozenset()
        """Lists that know no filters."""
        self.largest_page = sys.maxsize
        self._by_instance: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for path in self.lists:
            self.index(path)
        super().__init__(user=user)
        self.address = f"{self.url}/process-api"

    def index(self, path: str) -> None:
        """Take notice of rows that were added to a list, or removed."""
        groups = self._by_instance[path] = defaultdict(list)
        for row in self.lists[path]:
            groups[row.get("processInstanceId") or row["id"]].append(row)

    def respond(self, request: Request) -> Answer:
        query = dict(request.query)
        if any(request.path.startswith(beginning) for beginning in self.refused):
            return Answer(403, {"message": "Forbidden"})
        if request.path == EXTERNAL_ROOT + "jobs":
            if self.external != 200:
                return Answer(self.external, {"message": "x", "exception": f"No endpoint GET {request.path}."})
            return self._list("external", query)
        if request.path.startswith(PROCESS_ROOT):
            path = request.path.removeprefix(PROCESS_ROOT)
            if path in self.lists:
                return self._list(path, query)
            found = self._single(path)
            if found is not None:
                return found
        if request.path.startswith((PROCESS_ROOT, EXTERNAL_ROOT)):
            return Answer(500, {"message": "Internal server error", "exception": f"No endpoint GET {request.path}."})
        return Answer(404, {"status": 404, "error": "Not Found", "path": request.path})

    # --- lists ---

    def _list(self, path: str, query: dict[str, str]) -> Answer:
        rows = self.lists[path]
        if path in self.unfiltered:
            query = {name: query[name] for name in ("start", "size", "sort", "order") if name in query}
        if "processInstanceId" in query and path in _FILES:
            rows = self._by_instance[path].get(query["processInstanceId"], [])
        rows = [row for row in rows if all(_matches(self, path, row, name, value) for name, value in query.items())]
        sort = query.get("sort")
        if sort is not None and path in _SORTS:
            if sort not in _SORTS[path]:
                return Answer(400, {"message": "Bad request", "exception": f"'{sort}' is not a valid property"})
            rows = sorted(rows, key=lambda row: row[_SORTS[path][sort]] or "", reverse=query.get("order") == "desc")
        start, size = int(query.get("start", 0)), int(query.get("size", 10))
        part = rows[start : start + (10 if size < 0 else min(size, self.largest_page))]
        if path == "history/historic-process-instances" and query.get("includeProcessVariables") == "true":
            part = [row | {"variables": self._variables(row["id"])} for row in part]
        return Answer(200, {"data": part, "total": len(rows), "start": start, "size": len(part)})

    def _variables(self, instance: str) -> list[dict[str, Any]]:
        rows = self._by_instance["history/historic-variable-instances"].get(instance, [])
        return [row["variable"] for row in rows if row["executionId"] == instance]

    def latest_version(self, key: str) -> int:
        """Return the latest version of a process."""
        return max(row["version"] for row in self.lists["repository/process-definitions"] if row["key"] == key)

    # --- single things ---

    def _single(self, path: str) -> Answer | None:
        if path == "management/engine":
            return Answer(200, (RECORDED / "engine.json").read_bytes())
        head, _, rest = path.partition("/")
        name, _, rest = rest.partition("/")
        key, _, what = rest.partition("/")
        rows = {row["id"]: row for row in self.lists.get(f"{head}/{name}", ())}
        if what == "resourcedata" and key in rows:
            file = RECORDED / f"xml_{rows[key]['key']}{rows[key]['version']}.xml"
            return Answer(200, file.read_bytes(), "text/xml")
        if what == "exception-stacktrace" and key in rows:
            return Answer(200, (RECORDED / "order4_stacktrace.txt").read_bytes(), "text/plain")
        if not key or what:
            return None
        if key in rows:
            return Answer(200, rows[key])
        return Answer(404, {"message": "Not found", "exception": f"Could not find '{key}'."})


def _read(file: str, cases: dict[str, int]) -> list[dict[str, Any]]:
    """Return the rows of a list; ``cases`` has the number of copies of each."""
    rows = []
    for case, copies in cases.items():
        path = RECORDED / f"{case}_{file}.json"
        if not path.exists():
            continue
        text = path.read_text()
        for copy in range(1, copies + 1):
            document = json.loads(_OWN_ID.sub(rf"\g<1>{copy:08x}", text) if copy > 1 else text)
            rows += document.get("data", [document] if "id" in document else [])  # a runtime instance may be a 404
    return rows


def _key_and_version(row: dict[str, Any]) -> list[str]:
    return row["processDefinitionId"].split(":")[:2]


_FILTERS: dict[str, Callable[[FakeFlowable, dict[str, Any], str], bool]] = {
    "processInstanceId": lambda _, row, value: value in {row.get("processInstanceId"), row["id"]},
    "processDefinitionKey": lambda _, row, value: _key_and_version(row)[0] == value,
    "processDefinitionVersion": lambda _, row, value: _key_and_version(row)[1] == value,
    "processDefinitionId": lambda _, row, value: row["processDefinitionId"] == value,
    "businessKey": lambda _, row, value: row["businessKey"] == value,
    "superProcessInstanceId": lambda _, row, value: row["superProcessInstanceId"] == value,
    "startedBefore": lambda _, row, value: row["startTime"] < value,
    "finishedAfter": lambda _, row, value: (row["endTime"] or "") > value,
    "finished": lambda _, row, value: (row["endTime"] is not None) == (value == "true"),
    "activityInstanceId": lambda _, row, value: row["id"] == value,
    "processFinished": lambda fake, row, value: (row["processInstanceId"] in fake.ended) == (value == "true"),
    "suspended": lambda _, row, value: row["suspended"] == (value == "true"),
    "key": lambda _, row, value: row["key"] == value,
    "version": lambda _, row, value: str(row["version"]) == value,
    "latest": lambda fake, row, value: (value == "true") == (row["version"] == fake.latest_version(row["key"])),
}
_KNOWN = {
    "history/historic-process-instances": {
        *("processInstanceId", "processDefinitionKey", "processDefinitionVersion", "processDefinitionId"),
        *("businessKey", "superProcessInstanceId", "startedBefore", "finishedAfter", "finished"),
    },
    "history/historic-activity-instances": {
        *("processInstanceId", "processDefinitionId", "activityInstanceId", "finished"),
    },
    "runtime/activity-instances": {"processInstanceId", "processDefinitionId", "activityInstanceId", "finished"},
    "history/historic-task-instances": {"processInstanceId", "processDefinitionId", "finished", "processFinished"},
    "runtime/process-instances": {"suspended", "processDefinitionKey"},
    "repository/process-definitions": {"key", "version", "latest"},
}
"""The filters of each list; the other lists have the instance alone."""


def _matches(fake: FakeFlowable, path: str, row: dict[str, Any], name: str, value: str) -> bool:
    return name not in _KNOWN.get(path, {"processInstanceId"}) or _FILTERS[name](fake, row, value)
