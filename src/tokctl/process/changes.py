"""What became of the variables on the way: from each token to those that it led to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from tokctl.process.flow import Flow


class Change(Struct, frozen=True):
    """How a token's variables differ from those of the tokens that led to it (``before``, their ids).

    A first token has all of its own as added. Values are JSON; ``changed`` has old and new ones.
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


def changes(flow: Flow, variables: Mapping[str, Raw]) -> list[Change]:
    """Return what changed, in the order in which the tokens began; ``variables`` are by token id.

    Of a token that was joined, a name is new if none had it, gone if all had it, and changed if it is as none
    had it; the old value is that of the one that decided when the token began. Variables that are unknown, or no
    object, are compared with nothing. The order of members means nothing, nor does white space.
    """
    known: dict[int, dict[str, Raw]] = {}

    def read(n: int) -> dict[str, Raw] | None:
        if n not in known:
            try:
                found = _decoder.decode(variables[flow.visits[n].token_id])
            except (KeyError, msgspec.MsgspecError, RecursionError):
                return None
            known[n] = found
        return known[n]

    found: list[Change] = []
    for n in flow.by_begin:
        new = read(n)
        before = flow.predecessors(n)
        if before:
            driver = flow.driver(n)
            before = [driver, *(other for other in before if other != driver)]
        olds = [old for other in before if (old := read(other)) is not None]
        if new is None or (before and not olds):
            continue
        visit = flow.visits[n]
        change = Change(
            visit.token_id,
            visit.element_id,
            visit.name,
            None if n in flow.untimed else flow.begins[n],
            [flow.visits[other].token_id for other in before],
            *_compare(olds, new),
        )
        if change.added or change.changed or change.removed:
            found.append(change)
    return found


def _compare(
    olds: list[dict[str, Raw]], new: dict[str, Raw]
) -> tuple[dict[str, Raw], dict[str, tuple[Raw, Raw]], dict[str, Raw]]:
    added: dict[str, Raw] = {}
    changed: dict[str, tuple[Raw, Raw]] = {}
    for name, value in new.items():
        values = [old[name] for old in olds if name in old]
        if not values:
            added[name] = value
        elif not any(_same(value, old) for old in values):
            changed[name] = (values[0], value)
    first = olds[0] if olds else {}
    removed = {name: value for name, value in first.items() if name not in new and all(name in old for old in olds)}
    return added, changed, removed


def _same(left: Raw, right: Raw) -> bool:
    """Whether two JSON values mean the same."""
    if bytes(left) == bytes(right):
        return True
    try:
        values = [msgspec.json.encode(msgspec.json.decode(value), order="deterministic") for value in (left, right)]
    except (msgspec.MsgspecError, RecursionError):
        return False
    return values[0] == values[1]
