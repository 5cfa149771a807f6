"""Finds how the variables change along the flow of an instance: from the predecessors of a token to the token."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec
from msgspec import Raw, Struct

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.documents.base import is_same_json


class VariableChange(Struct, frozen=True):
    """The difference between the variables of a token and those of its predecessors (``before``: their ids).

    A token without predecessors has all its variables in ``added``. Values are JSON; ``changed`` has (old, new).
    ``at_us`` is when the token began (µs since 1970).
    """

    token_id: str
    element_id: str
    element: str
    at_us: int | None
    before: list[str]
    added: dict[str, Raw]
    changed: dict[str, tuple[Raw, Raw]]
    removed: dict[str, Raw]


_decoder = msgspec.json.Decoder(dict[str, Raw])


def find_variable_changes(flow: FlowAnalysis, variables: Mapping[str, Raw]) -> list[VariableChange]:
    """Return the changes of variables, in the order in which the tokens began.

    A variable of a joined token was added if no predecessor had it, removed if all predecessors had it, and changed if
    its value differs from all of theirs; the old value is that of the predecessor that decided when the token began.
    Tokens whose variables are unknown or not an object are not compared. White space and the order of members do not
    matter. ``variables`` are a JSON object for each token, by token id.
    """

    @cache
    def read(n: int) -> dict[str, Raw] | None:
        try:
            return _decoder.decode(variables[flow.visits[n].token_id])
        except (KeyError, msgspec.MsgspecError, RecursionError):
            return None

    found: list[VariableChange] = []
    for n in flow.by_begin:
        new = read(n)
        before = flow.predecessors(n)
        if before:
            deciding = flow.deciding_predecessor(n)
            before = [deciding, *(other for other in before if other != deciding)]
        olds = [old for other in before if (old := read(other)) is not None]
        if new is None or (before and not olds):
            continue
        visit = flow.visits[n]
        change = VariableChange(
            visit.token_id,
            visit.element_id,
            visit.name,
            None if n in flow.untimed else flow.begins[n],
            [flow.visits[other].token_id for other in before],
            *_compare_variables(olds, new),
        )
        if change.added or change.changed or change.removed:
            found.append(change)
    return found


def _compare_variables(
    olds: list[dict[str, Raw]], new: dict[str, Raw]
) -> tuple[dict[str, Raw], dict[str, tuple[Raw, Raw]], dict[str, Raw]]:
    added: dict[str, Raw] = {}
    changed: dict[str, tuple[Raw, Raw]] = {}
    for name, value in new.items():
        values = [old[name] for old in olds if name in old]
        if not values:
            added[name] = value
        elif not any(is_same_json(value, old) for old in values):
            changed[name] = (values[0], value)
    first = olds[0] if olds else {}
    removed = {name: value for name, value in first.items() if name not in new and all(name in old for old in olds)}
    return added, changed, removed
