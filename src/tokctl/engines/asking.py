"""From questions to query parameters of the documented API, ours among them; nothing where they cannot say it.

A server reads ``state`` and ``element_type`` as lists between commas and takes other names for the same; what would
not arrive as it was meant is not asked for, but looked for here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tokctl.errors import UsageError
from tokctl.process.model import format_time
from tokctl.process.query import InstanceFilter, Order, TokenFilter, check_states, check_types

Params = dict[str, str | tuple[str, ...]]

LONGEST = 2000
"""Characters of all values: percent-encoded, three times as many are still a request that servers take."""
MOST = 100
"""Values in all."""
LIMIT_MOST = (1 << 53) - 1


def token_params(where: TokenFilter, order: Order | None = None) -> Params | None:
    """Return a filter, and an order other than that of creation, as parameters; None if it has to be done here."""
    params: Params = {}
    if where.states:
        params["state"] = where.states
    if where.types:
        params["element_type"] = where.types
    if where.elements:
        params["element"] = where.elements
    if where.workers:
        params["worker"] = where.workers
    _period(params, where.since, where.until)
    if where.live:
        params["live"] = "true"
    if not where.include_completed:
        params["include_completed"] = "false"
    _sort(params, order, Order("created"))
    plain = _plain(where.states, where.types, types=True) and not (
        "COMPLETED" in where.states and not where.include_completed
    )
    return params if plain and sayable(params) else None


def instance_params(where: InstanceFilter, order: Order | None = None) -> Params | None:
    """Return the same of instances; their usual order is the latest first."""
    params: Params = {}
    if where.statuses:
        params["status"] = where.statuses
    if where.processes:
        params["process"] = where.processes
    if where.version is not None:
        params["version"] = str(where.version)
    _period(params, where.since, where.until)
    if where.live:
        params["live"] = "true"
    if where.open:
        params["open"] = "true"
    _sort(params, order, Order("started", descending=True))
    return params if _plain(where.statuses, ()) and sayable(params) else None


def sayable(params: Params) -> bool:
    """Tell whether values would arrive, and not be too many."""
    values = [one for value in params.values() for one in ((value,) if isinstance(value, str) else value)]
    return (
        all(value and "\0" not in value for value in values)
        and sum(map(len, values)) <= LONGEST
        and len(values) <= MOST
    )


def _period(params: Params, since: datetime | None, until: datetime | None) -> None:
    for name, moment in (("since", since), ("until", until)):
        if moment is not None:
            params[name] = format_time(moment) or ""


def _sort(params: Params, order: Order | None, usual: Order) -> None:
    if order is not None and order != usual:
        params["sort"] = "-" * order.descending + order.column


def _plain(states: Iterable[str], kinds: Iterable[str], *, types: bool = False) -> bool:
    """Tell whether states and types are words that a server takes for themselves."""
    try:
        known = all(check_states((state,)) == (state,) for state in states)
        return known and (not types or all(check_types((kind,)) == (kind,) and "," not in kind for kind in kinds))
    except UsageError:
        return False
