"""What ``tokctl tokens wait`` waits for: conditions, and whether they hold, may yet hold, or never will."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.process.debug import check_severity
from tokctl.process.query import check_states, suggest
from tokctl.process.rules.base import SEVERITIES

KINDS = ("state", "element", "no-live", "finding")
_VALID = "Valid: state=COMPLETED, element=ID, no-live, finding=HIGH."

Kind = Literal["state", "element", "no-live", "finding"]


class Condition(Struct, frozen=True):
    """One condition, as it was given: its kind, and the values of which one is enough."""

    text: str
    kind: Kind
    values: tuple[str, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """What conditions ask of an instance. What costs something is asked when it is needed.

    ``over``: the instance has come to its end, and nothing more is going to happen.
    ``reached`` tells whether a token ever came to an element that fits a pattern; ``severity`` is that of
    the worst finding, None without any.
    """

    status: str | None
    total_tokens: int
    live_tokens: int
    over: bool
    reached: Callable[[str], bool]
    severity: Callable[[], str | None]


def parse_condition(text: str) -> Condition:
    """Read a condition: ``state=S[,S…]``, ``element=GLOB``, ``no-live``, ``finding=SEVERITY``.

    Raises:
        UsageError: it is none of these.
    """
    kind, equals, value = text.strip().partition("=")
    kind, value = kind.strip().lower(), value.strip()
    if kind not in KINDS:
        raise UsageError(f"'{text}' is nothing to wait for{suggest(kind, KINDS)}.", _VALID)
    if kind == "no-live":
        if equals:
            raise UsageError("no-live takes no value.", _VALID)
        return Condition(text.strip(), "no-live")
    if not value.strip(","):
        raise UsageError(f"'{text}' names no {kind}.", _VALID)
    if kind == "state":
        return Condition(text.strip(), "state", check_states(word for word in value.split(",") if word.strip()))
    if kind == "finding":
        value = check_severity(value)
    return Condition(text.strip(), cast(Kind, kind), (value,))


def judge(condition: Condition, facts: Facts) -> bool | None:
    """Tell whether a condition holds; False when it can no longer hold, None as long as it may."""
    if _holds(condition, facts):
        return True
    if condition.kind == "no-live":
        return None  # live tokens of an instance that has ended may be put right
    return False if facts.over else None


def _holds(condition: Condition, facts: Facts) -> bool:
    if condition.kind == "state":
        return facts.status in condition.values
    if condition.kind == "element":
        return any(map(facts.reached, condition.values))
    if condition.kind == "no-live":  # one that has not begun has none either, but that is not meant
        return facts.live_tokens == 0 and (facts.total_tokens > 0 or facts.over)
    severity = facts.severity()
    return severity in SEVERITIES and SEVERITIES.index(severity) >= SEVERITIES.index(condition.values[0])
