"""Filters of instances as query parameters of Flowable's list of historic process instances.

The server compares texts exactly, and ignores parameters that it does not know. It keeps times to the millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from tokctl.model.filters import InstanceFilter
from tokctl.model.states import CANCELLED, COMPLETED
from tokctl.model.times import format_time

_WILDCARDS = frozenset("*?[")
_RUNNING = frozenset({"ACTIVE", "SUSPENDED"})
_ENDED = frozenset({COMPLETED, CANCELLED})


def instance_params(where: InstanceFilter) -> dict[str, str]:
    """Return parameters that let through at least all instances that match."""
    params: dict[str, str] = {}
    statuses = frozenset(where.statuses)
    if where.open or where.live or where.failed or where.stuck or (statuses and not statuses & _ENDED):
        params["finished"] = "false"
    elif statuses and statuses <= _ENDED:
        params["finished"] = "true"
        if where.since is not None:
            params["finishedAfter"] = _format_millisecond(where.since, -1)
    if (process := _only_name(where.processes)) is not None:
        params["processDefinitionKey"] = process
        if where.version is not None:
            params["processDefinitionVersion"] = str(where.version)
    if (business_key := _only_name(where.business_keys)) is not None:
        params["businessKey"] = business_key
    if where.until is not None:
        params["startedBefore"] = _format_millisecond(where.until, 1)
    if where.variables:
        params["includeProcessVariables"] = "true"
    return params


def count_params(where: InstanceFilter) -> dict[str, str] | None:
    """Return parameters that let through the instances that match and no others; None if there are none.

    A running instance has a live token. Whether an instance is suspended, or was cancelled, is no filter.
    """
    statuses = frozenset(where.statuses)
    by_end = not statuses or statuses in {_RUNNING, _ENDED}
    by_name = all(len(names) == 0 or _only_name(names) is not None for names in (where.processes, where.business_keys))
    contradicts = bool(statuses & _ENDED) and (where.live or where.open)
    rest = where.since or where.until or where.failed or where.stuck or where.variables
    if not (by_end and by_name) or contradicts or rest or (where.version is not None and not where.processes):
        return None
    return instance_params(where)


def _format_millisecond(time: datetime, beyond: int) -> str:
    """Return a time to the millisecond, and some milliseconds later or earlier, so that no match is left out."""
    with suppress(OverflowError):
        time += timedelta(milliseconds=beyond)
    return format_time(time.replace(microsecond=time.microsecond // 1000 * 1000)) or ""


def _only_name(patterns: Sequence[str]) -> str | None:
    """Return the only pattern, if it has no wildcards."""
    return patterns[0] if len(patterns) == 1 and not _WILDCARDS & set(patterns[0]) else None
