"""Conditions of ``tokctl tokens wait``: parsing them, and whether they hold, may still hold, or never will."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from tokctl.analysis.debug.rules.base import SEVERITIES
from tokctl.analysis.debug.runner import parse_severity
from tokctl.errors import UsageError
from tokctl.model.filters import validate_states
from tokctl.text import suggest

CONDITION_KINDS = ("state", "element", "no-live", "finding")
_VALID = "Valid: state=COMPLETED, element=ID, no-live, finding=HIGH."

Kind = Literal["state", "element", "no-live", "finding"]


class Condition(Struct, frozen=True):
    """One condition: its text as given, its kind, and alternative values."""

    text: str
    kind: Kind
    values: tuple[str, ...] = ()


class InstanceFacts(Struct, frozen=True, kw_only=True):
    """The facts about an instance that conditions depend on. Expensive facts are functions, called on demand.

    ``is_finished`` tells that the instance has ended for good. ``reached`` tells whether a token ever reached an
    element that matches a glob; ``severity`` returns the severity of the worst finding, None without findings.
    """

    status: str | None
    total_tokens: int
    live_tokens: int
    is_finished: bool
    reached: Callable[[str], bool]
    severity: Callable[[], str | None]


def parse_condition(text: str) -> Condition:
    """Parse a condition: ``state=S[,S…]``, ``element=GLOB``, ``no-live`` or ``finding=SEVERITY``.

    Raises:
        UsageError: the text is none of these.
    """
    kind, equals, value = text.strip().partition("=")
    kind, value = kind.strip().lower(), value.strip()
    if kind not in CONDITION_KINDS:
        raise UsageError(f"unknown condition '{text}'{suggest(kind, CONDITION_KINDS)}.", _VALID)
    if kind == "no-live":
        if equals:
            raise UsageError("no-live takes no value.", _VALID)
        return Condition(text.strip(), "no-live")
    if not value.strip(","):
        raise UsageError(f"condition '{text}' has no {kind}.", _VALID)
    if kind == "state":
        return Condition(text.strip(), "state", validate_states(word for word in value.split(",") if word.strip()))
    if kind == "finding":
        return Condition(text.strip(), "finding", (parse_severity(value),))
    return Condition(text.strip(), "element", (value,))


def evaluate_condition(condition: Condition, facts: InstanceFacts) -> bool | None:
    """Return True if a condition holds, False if it can no longer hold, None if it may still hold."""
    if _holds(condition, facts):
        return True
    if condition.kind == "no-live":
        return None  # live tokens of an instance that has ended may still be corrected
    return False if facts.is_finished else None


def _holds(condition: Condition, facts: InstanceFacts) -> bool:
    if condition.kind == "state":
        return facts.status in condition.values
    if condition.kind == "element":
        return any(map(facts.reached, condition.values))
    if condition.kind == "no-live":  # an instance that has not begun has no live tokens, either, but does not match
        return facts.live_tokens == 0 and (facts.total_tokens > 0 or facts.is_finished)
    severity = facts.severity()
    return severity in SEVERITIES and SEVERITIES.index(severity) >= SEVERITIES.index(condition.values[0])
