"""Filters and orders as query parameters of the documented API; None if it has no such parameters.

A server reads ``state`` and ``element_type`` as comma-separated lists and accepts other spellings; a value that a
server would interpret differently is not sent, but filtered here.
"""

from __future__ import annotations

from tokctl.errors import UsageError
from tokctl.model.filters import (
    InstanceFilter,
    SortOrder,
    StuckLimits,
    TokenFilter,
    validate_states,
    validate_types,
)
from tokctl.model.times import format_time
from tokctl.model.variables import VariableCondition, parse_variable_condition

Params = dict[str, str | tuple[str, ...]]

MAX_VALUE_CHARACTERS = 2000
"""Maximum number of characters of all values: servers accept even three times as many (percent-encoded)."""
MAX_VALUES = 100
"""Maximum number of values."""
MAX_LIMIT = (1 << 53) - 1


def token_params(where: TokenFilter, order: SortOrder | None = None) -> Params | None:
    """Return a filter, and an order other than that of creation, as parameters; None if it must be done here."""
    params = _without_empty(
        {
            "state": where.states,
            "element_type": where.types,
            "element": where.elements,
            "worker": where.workers,
            "since": format_time(where.since),
            "until": format_time(where.until),
            "live": "true" if where.live else None,
            "include_completed": None if where.include_completed else "false",
            "sort": _sort_param(order, SortOrder("created")),
        }
    )
    contradicts = "COMPLETED" in where.states and not where.include_completed
    return params if not contradicts and _are_canonical(where) and is_expressible(params) else None


def instance_params(where: InstanceFilter, order: SortOrder | None = None) -> Params | None:
    """Return the same for instances; by default the newest come first."""
    params = _without_empty(
        {
            "status": where.statuses,
            "process": where.processes,
            "version": None if where.version is None else str(where.version),
            "since": format_time(where.since),
            "until": format_time(where.until),
            "live": "true" if where.live else None,
            "open": "true" if where.open else None,
            "failed": "true" if where.failed else None,
            "business_key": where.business_keys,
            "var": tuple(map(str, where.variables)),
            **_stuck_params(where.stuck),
            "sort": _sort_param(order, SortOrder("started", descending=True)),
        }
    )
    return (
        params
        if all(map(_is_parseable, where.variables)) and _are_canonical(where) and is_expressible(params)
        else None
    )


def _is_parseable(condition: VariableCondition) -> bool:
    """Tell whether a condition is what a server makes of its text."""
    try:
        return parse_variable_condition(str(condition)) == condition
    except UsageError:
        return False


def _stuck_params(limits: StuckLimits | None) -> dict[str, str | None]:
    """Return limits as parameters; the server compares with its own time."""
    if limits is None:
        return {}
    usual = StuckLimits(limits.now)
    params: dict[str, str | None] = {"stuck": "true"}
    for name in ("long_running", "stuck_gateway"):
        if (limit := getattr(limits, name)) != getattr(usual, name):
            params[name] = f"{limit.total_seconds()}s"
    return params


def is_expressible(params: Params) -> bool:
    """Tell whether values can be sent unchanged and are not too many."""
    values = [one for value in params.values() for one in ((value,) if isinstance(value, str) else value)]
    return (
        all(value and "\0" not in value for value in values)
        and sum(map(len, values)) <= MAX_VALUE_CHARACTERS
        and len(values) <= MAX_VALUES
    )


def _without_empty(given: dict[str, str | tuple[str, ...] | None]) -> Params:
    return {name: value for name, value in given.items() if value}


def _sort_param(order: SortOrder | None, usual: SortOrder) -> str | None:
    return None if order is None or order == usual else sort_param(order)


def sort_param(order: SortOrder) -> str:
    """Return an order as the value of the parameter ``sort``."""
    return "-" * order.descending + order.column


def _are_canonical(where: TokenFilter | InstanceFilter) -> bool:
    """Tell whether a server interprets states and types as they are."""
    states, types = (where.states, where.types) if isinstance(where, TokenFilter) else (where.statuses, ())
    try:
        return all(validate_states((state,)) == (state,) for state in states) and all(
            validate_types((kind,)) == (kind,) and "," not in kind for kind in types
        )
    except UsageError:
        return False
