"""What can be asked of tokens and instances, and the plain answer: filters and orders.

A store answers in SQL, a server in its own way; ``TokenFilter.matches`` and ``token_key`` say what
the answer has to be. Times that a question needs and a token lacks make it no match.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.process.model import (
    COMPLETED,
    ELEMENT_TYPES,
    FAMILIES,
    STATES,
    Token,
    canonical_state,
    canonical_type,
    duration,
    is_final,
    type_matches,
)
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Visit
from tokctl.process.wire import parse_time


class TokenFilter(Struct, frozen=True, kw_only=True):
    """Which tokens of an instance to show; every condition that is given has to hold.

    ``states``, ``types`` (types or families), ``elements`` (globs over id or name) and ``workers``
    (globs) hold alternatives. A token lies in a period when something happened to it there: its
    last change is not before ``since``, and it was created before ``until``.
    """

    states: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    live: bool = False
    include_completed: bool = True

    def matches(self, token: Token | Visit) -> bool:
        """Tell whether a token is one of those asked for."""
        changed = token.updated_at or token.created_at
        worker = token.context.worker_id
        kind = token.element_type
        return (
            (not self.states or token.state in self.states)
            and (not self.live or token.live)
            and (self.include_completed or token.state != COMPLETED)
            and (not self.types or (kind is not None and any(type_matches(kind, t) for t in self.types)))
            and (
                not self.elements
                or any(fnmatchcase(token.element_id, e) or fnmatchcase(token.name, e) for e in self.elements)
            )
            and (not self.workers or (worker is not None and any(fnmatchcase(worker, w) for w in self.workers)))
            and (self.since is None or (changed is not None and changed >= self.since))
            and (self.until is None or (token.created_at is not None and token.created_at < self.until))
        )


EVERYTHING = TokenFilter()


def check_states(states: Iterable[str], *, include_completed: bool = True) -> tuple[str, ...]:
    """Return the documented names of states to filter by.

    Raises:
        UsageError: a state that nobody knows, or COMPLETED asked for and left out at once.
    """
    checked = tuple(canonical_state(state.strip()) for state in states)
    for state in checked:
        if state not in STATES:
            raise UsageError(f"unknown state '{state}'{suggest(state.upper(), STATES)}.",
                             f"Valid states: {', '.join(STATES)}.")  # fmt: skip
    if not include_completed and COMPLETED in checked:
        raise UsageError("--no-completed and --state COMPLETED contradict each other.", "Leave one out.")
    return checked


def check_types(types: Iterable[str]) -> tuple[str, ...]:
    """Return the camelCase names of element types and families to filter by.

    Any name is allowed, for engines have types of their own, but one that is nearly a known type is
    taken for a slip.

    Raises:
        UsageError: a name that is close to a known one, but is not it.
    """
    known = (*FAMILIES, *ELEMENT_TYPES)
    checked = []
    for given in types:
        name = canonical_type(given.strip())
        name = name.lower() if name.lower() in FAMILIES else name
        if name not in known and (hint := suggest(name, known)):
            raise UsageError(f"unknown element type '{given}'{hint}.",
                             "Families: gateway, task, event; or a BPMN type such as serviceTask.")  # fmt: skip
        checked.append(name)
    return tuple(checked)


def suggest(given: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'X'?)`` when something valid is close, else nothing."""
    near = difflib.get_close_matches(given, list(valid), n=1, cutoff=0.7)
    return f" (did you mean '{near[0]}'?)" if near else ""


# --- orders ---------------------------------------------------------------------------------------

TOKEN_ORDERS = ("created", "updated", "finished", "duration", "element", "type", "state", "worker", "retries")
INSTANCE_ORDERS = ("started", "updated", "status", "process", "tokens", "live")
RECORDED = "recorded"
"""The order in which instances came to be known: a store has it, and a server over one."""


class Order(Struct, frozen=True):
    """A column to sort by; what is unknown comes first, and last when ``descending``."""

    column: str
    descending: bool = False


def parse_order(text: str, valid: tuple[str, ...]) -> Order:
    """Read ``created``, or ``-created`` for the latest first.

    Raises:
        UsageError: there is no such order.
    """
    column = text.strip().lstrip("-+").lower()
    if column not in valid:
        raise UsageError(f"cannot sort by '{text}'{suggest(column, valid)}.", f"Valid: {', '.join(valid)}; "
                         "with '-' in front for the reverse.")  # fmt: skip
    return Order(column, descending=text.strip().startswith("-"))


def token_key(token: Token, column: str) -> tuple[bool, Any]:
    """Return a token's sort key for an order: unknown before known, ties left to the caller."""
    took = duration(token) if column == "duration" else None
    value: Any = {
        "created": token.created_at,
        "updated": token.updated_at,
        "finished": token.finished_at,
        "duration": took and took.ms,
        "element": token.element_id,
        "type": token.element_type,
        "state": token.state,
        "worker": token.context.worker_id if column == "worker" else None,
        "retries": token.context.retries_used if column == "retries" else None,
    }[column]
    return (value is not None, value if value is not None else 0)


def sort_tokens(tokens: Iterable[Token], order: Order) -> list[Token]:
    """Sort tokens; equal ones stand in the order of their creation, then as they came."""
    ranked = sorted(tokens, key=lambda t: token_key(t, "created"))
    return sorted(ranked, key=lambda t: token_key(t, order.column), reverse=order.descending)


# --- instances ------------------------------------------------------------------------------------


class InstanceFilter(Struct, frozen=True, kw_only=True):
    """Which instances to show: statuses, globs over the process id, a version of it, a period, live ones only.

    An instance lies in a period when it was updated at or after ``since`` and started before
    ``until``. ``live`` ones have a live token. ``open`` ones have not come to their end, or have a live
    token all the same.
    """

    statuses: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    live: bool = False
    open: bool = False

    def matches(self, status: InstanceStatus) -> bool:
        """Tell whether an instance is one of those asked for."""
        process = status.instance.process_id
        return (
            (not self.statuses or status.status in self.statuses)
            and (not self.live or status.live_tokens > 0)
            and (not self.open or status.live_tokens > 0 or not (status.status is None or is_final(status.status)))
            and (not self.processes or (process is not None and any(fnmatchcase(process, p) for p in self.processes)))
            and (self.version is None or status.instance.version == self.version)
            and (self.since is None or (status.updated_at is not None and status.updated_at >= self.since))
            and (self.until is None or (status.started_at is not None and status.started_at < self.until))
        )


def sort_instances(found: Iterable[InstanceStatus], order: Order) -> list[InstanceStatus]:
    """Sort instances; equal ones stand in the order of their ids."""

    def key(status: InstanceStatus) -> tuple[bool, Any]:
        value: Any = {
            "started": status.started_at,
            "updated": status.updated_at,
            "status": status.status,
            "process": status.instance.process_id,
            "tokens": status.total_tokens,
            "live": status.live_tokens,
        }[order.column]
        return (value is not None, value if value is not None else 0)

    ranked = sorted(found, key=lambda status: status.instance.instance_id)
    return sorted(ranked, key=key, reverse=order.descending)


# --- times and spans as people type them ------------------------------------------------------------

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])")


def parse_span(text: str) -> timedelta:
    """Read a span of time such as ``90s``, ``15m``, ``1h30m`` or ``2d``.

    Raises:
        UsageError: it is none, or too long for a calendar.
    """
    squeezed = text.strip().lower()
    parts = _SPAN.findall(squeezed)
    if not parts or _SPAN.sub("", squeezed).strip():
        raise UsageError(f"'{text}' is no span of time.", "Give one such as 90s, 15m, 1h30m or 2d.")
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise UsageError(f"'{text}' is too long a span of time.") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """Read a time (RFC 3339, ``2025-01-11``, ``2025-01-11 10:30``) or a span before now (``15m``).

    A time without a zone is taken to be in UTC.

    Raises:
        UsageError: it is neither.
    """
    text = text.strip()
    if text.lower() == "now":
        return now
    if _SPAN.match(text.lower()) and not re.match(r"\d{4}-", text):
        try:
            return now - parse_span(text)
        except OverflowError:
            raise UsageError(f"'{text}' lies before the calendar begins.") from None
    candidate = text.replace(" ", "T", 1)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", candidate):
        candidate += "T00:00:00Z"
    elif minute := re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(Z|[+-]\d\d:\d\d)?", candidate, re.IGNORECASE):
        candidate = f"{minute[1]}:00{minute[2] or 'Z'}"
    try:
        moment = parse_time(candidate)
    except ValueError:
        moment = None
    if moment is None:
        raise UsageError(f"'{text}' is neither a time nor a span.",
                         "Give one such as 2025-01-11T10:30:00Z, 2025-01-11, 15m or 2h.")  # fmt: skip
    return moment
