"""Finds the live instances that have a token at an element, which people name by its id or by its name.

The server finds instances by ids of elements only. Which ids have a name follows from the models, so nothing is
selected by the server unless the models of all live instances are known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from tokctl.engines.camunda7.api import RestApi, run_together
from tokctl.engines.camunda7.documents import BODY_SUFFIX, ActivityRow, RuntimeInstanceRow, StatisticsRow
from tokctl.engines.camunda7.models import ModelLoader
from tokctl.engines.camunda7.reader import ACTIVITIES, NAMED_INSTANCES

MAX_ELEMENTS = 5
"""Maximum number of elements whose visits are requested, each by a request of its own."""
_WILDCARDS = frozenset("*?[")


def find_instances_at(api: RestApi, models: ModelLoader, elements: Collection[str]) -> set[str] | None:
    """Return the ids of the live instances with a token at one of some elements, or of a few more instances.

    None if the server cannot select them: an element is a pattern, the engine keeps no history, the credential may not
    read all models, or too many elements or instances match.
    """
    if not elements or any(_WILDCARDS & set(one) for one in elements):
        return None
    statistics = api.get_rows("process-definition/statistics", StatisticsRow)
    known = {row.id for row in statistics if row.instances}
    if sum(row.instances for row in statistics) != api.count("history/process-instance", {"unfinished": "true"}):
        return None
    graphs = models.graphs(known)
    if any(not graphs[one].elements for one in known):
        return None
    wanted = {
        element.id
        for one in known
        for element in graphs[one].elements.values()
        if element.id in elements or element.name in elements
    }
    if not wanted:
        return set()
    if len(wanted) > MAX_ELEMENTS:
        return None
    ids = sorted(wanted | {one + BODY_SUFFIX for one in wanted})
    leaves = {"activityIdIn": ",".join(ids)}
    reads: list[Callable[..., list[Any]]] = [partial(api.get_page, "process-instance", RuntimeInstanceRow, leaves)]
    open_visits = ({"activityId": one, "unfinished": "true"} for one in sorted(wanted))
    reads += [partial(api.get_page, ACTIVITIES, ActivityRow, params) for params in open_visits]
    # an activity that has not begun has no visit, and a scope is no leaf
    pages = run_together([partial(read, limit=NAMED_INSTANCES) for read in reads])
    size = min(NAMED_INSTANCES, api.page_size or NAMED_INSTANCES)
    if any(len(rows) >= size for rows in pages):  # there may be more
        return None
    return {row.id for row in pages[0]} | {row.process_instance_id for rows in pages[1:] for row in rows}
