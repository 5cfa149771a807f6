"""Filters and orders of instances as parameters of ``/history/process-instance``.

Only parameters that every version has are used. The rest of a filter, and all of it once more, is checked on what comes
back, because a server ignores a parameter that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokctl.engines.camunda7.documents import format_filter_time
from tokctl.model.filters import InstanceFilter, SortOrder
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, SUSPENDED

_SORT_COLUMNS = {"started": "startTime", "process": "definitionKey"}
_STATUS_PARAMETERS = {ACTIVE: "active", SUSPENDED: "suspended", COMPLETED: "completed", CANCELLED: "finished"}
_WILDCARDS = frozenset("*?[")
MAX_LISTED_KEYS = 50
"""Business keys or process ids in one query string."""


class PushedFilter(NamedTuple):
    """The parameters of a filter. ``exact``: they select just what the filter selects, so that rows can be counted."""

    params: dict[str, str]
    exact: bool


def push_down(where: InstanceFilter) -> PushedFilter:
    """Return what the server can select of a filter on instances.

    Not here are ``since``, ``variables`` and ``failed``, which other lists answer, and ``stuck``, which needs tokens.
    (``incidentStatus`` finds the incidents of the history, which has none below level full.)
    """
    params: dict[str, str] = {}
    exact = not (where.since or where.variables or where.stuck or where.version is not None)
    statuses = set(where.statuses)
    if len(statuses) == 1 and (name := _STATUS_PARAMETERS.get(*statuses)):
        params[name] = "true"
        exact = exact and name != "finished"
    elif statuses:
        exact = False
        if statuses <= {ACTIVE, SUSPENDED}:
            params["unfinished"] = "true"
        elif statuses <= {COMPLETED, CANCELLED}:
            params["finished"] = "true"
    if where.live or where.open:
        params["unfinished"] = "true"
    exact &= _push_names(params, where.processes, "processDefinitionKey")
    exact &= _push_names(params, where.business_keys, "processInstanceBusinessKey")
    if where.until is not None:
        params["startedBefore"] = format_filter_time(where.until)
        exact = False  # the server may include the moment itself
    return PushedFilter(params, exact)


def _push_names(params: dict[str, str], globs: Sequence[str], parameter: str) -> bool:
    """Add exact names, or one pattern of a business key, and tell whether all of them are there."""
    if not globs:
        return True
    if not any(_WILDCARDS & set(one) for one in globs):
        if len(globs) == 1:
            params[parameter] = globs[0]
            return True
        if len(globs) <= MAX_LISTED_KEYS and not any("," in one for one in globs):
            params[f"{parameter}In"] = ",".join(globs)
        return False
    pattern = globs[0].replace("*", "%")
    if len(globs) == 1 and parameter.endswith("BusinessKey") and not set(globs[0]) & set("?[%_\\"):
        params[f"{parameter}Like"] = pattern
    return False


def sort_params(order: SortOrder) -> dict[str, str] | None:
    """Return an order as parameters; None if the server cannot sort by it."""
    column = _SORT_COLUMNS.get(order.column)
    return None if column is None else {"sortBy": column, "sortOrder": "desc" if order.descending else "asc"}
