"""Groups tokens with problems by a common property: an element, a worker, or an error message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from msgspec import Struct

from tokctl.analysis.debug.rules.base import SEVERITIES
from tokctl.analysis.debug.runner import TroubledInstance
from tokctl.model.visits import Visit
from tokctl.text import one_line

_CODE = r"\b(?:HTTP|status|code)[ :=/]*[1-5]\d\d\b|\b[A-Z]{2,}-?\d+\b"
_NUMBER_OR_ID = r"(?<![A-Za-z])(?=[0-9A-Fa-f-]*\d)[0-9A-Fa-f]+(?:-[0-9A-Fa-f]+)*(?![A-Za-z])|\d+"
_PART = re.compile(f"({_CODE})|{_NUMBER_OR_ID}")


class TroubleGroup(Struct, frozen=True, kw_only=True):
    """Tokens with problems that share a property.

    ``value`` is what they share, None if they lack it. ``severity`` is the worst, ``since`` the oldest, and
    ``instance_id`` the instance of the worst token.
    """

    value: str | None
    severity: str
    tokens: int
    instances: int
    since: datetime | None
    instance_id: str


def mask_variable_parts(message: str) -> str:
    """Return an error message with ``…`` instead of numbers and hexadecimal ids, so that equal errors look alike.

    HTTP status codes and codes such as ORA-00001 are kept.
    """
    return _PART.sub(lambda found: found[1] or "…", message)


def mask_error(error: str | None) -> str | None:
    """Return the first line of an error message which names a group of equal errors."""
    return None if error is None else mask_variable_parts(one_line(error.partition("\n")[0]))


GROUPINGS: dict[str, Callable[[Visit], str | None]] = {
    "element": lambda visit: visit.name,
    "worker": lambda visit: visit.context.worker_id,
    "error": lambda visit: mask_error(visit.context.error),
}
"""Property to group by → the value of a token."""


def group_trouble(instances: Iterable[TroubledInstance], by: str) -> list[TroubleGroup]:
    """Return the groups of tokens, those with the most tokens first, tokens that lack the value last."""
    value_of = GROUPINGS[by]
    found: dict[str | None, list[tuple[int, datetime | None, str]]] = {}
    for instance in instances:
        for token in instance.tokens:
            visit = token.match.visit
            rank = SEVERITIES.index(token.severity)
            found.setdefault(value_of(visit), []).append((rank, token.match.since, visit.instance_id))
    groups = []
    for value, tokens in found.items():
        worst = max(rank for rank, _, _ in tokens)
        groups.append(
            TroubleGroup(
                value=value,
                severity=SEVERITIES[worst],
                tokens=len(tokens),
                instances=len({instance_id for _, _, instance_id in tokens}),
                since=min((since for _, since, _ in tokens if since is not None), default=None),
                instance_id=next(instance_id for rank, _, instance_id in tokens if rank == worst),
            )
        )
    return sorted(groups, key=lambda group: (group.value is None, -group.tokens, group.value or ""))
