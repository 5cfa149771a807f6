"""What can be waited for, and when it holds, may yet hold, or never will."""

from __future__ import annotations

import pytest

from tokctl.analysis.wait_conditions import InstanceFacts, evaluate_condition, parse_condition
from tokctl.errors import UsageError


def never_asked(*_):
    raise AssertionError("this costs something, and was not needed")


def facts(**fields):
    base = {"status": "ACTIVE", "total_tokens": 3, "live_tokens": 1, "is_finished": False}
    return InstanceFacts(**base | {"reached": never_asked, "severity": never_asked} | fields)


@pytest.mark.parametrize(
    ("text", "given", "verdict"),
    [
        ("state=COMPLETED", {}, None),
        ("state=COMPLETED", {"status": "COMPLETED"}, True),
        ("state=completed", {"status": "COMPLETED", "is_finished": True}, True),
        ("state=COMPLETED", {"status": "FAILED"}, None),  # derived, it may yet change
        ("state=COMPLETED", {"status": "FAILED", "is_finished": True}, False),
        ("state=TERMINATED, failed", {"status": "CANCELLED"}, True),
        ("state=COMPLETED", {"status": None}, None),
        ("element=pick", {"reached": lambda pattern: pattern == "pick"}, True),
        ("element=pick*", {"reached": lambda pattern: pattern == "pick"}, None),
        ("element=a=b", {"reached": lambda pattern: pattern == "a=b"}, True),
        ("element=pick", {"reached": lambda _: False, "is_finished": True}, False),
        ("element=pick", {"reached": lambda _: True, "is_finished": True}, True),
        ("no-live", {}, None),
        ("no-live", {"live_tokens": 0}, True),
        ("NO-LIVE", {"live_tokens": 0, "total_tokens": 0}, None),
        ("no-live", {"live_tokens": 0, "total_tokens": 0, "is_finished": True}, True),
        ("no-live", {"is_finished": True}, None),
        ("finding=HIGH", {"severity": lambda: "HIGH"}, True),
        ("finding=high", {"severity": lambda: "MEDIUM"}, None),
        ("finding=medium", {"severity": lambda: "HIGH"}, True),
        ("finding=LOW", {"severity": lambda: None}, None),
        ("finding=LOW", {"severity": lambda: None, "is_finished": True}, False),
    ],
)
def test_conditions(text, given, verdict):
    assert evaluate_condition(parse_condition(text), facts(**given)) is verdict


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unknown condition"),
        ("stat=COMPLETED", "did you mean 'state'"),
        ("state", "has no state"),
        ("state=", "has no state"),
        ("state=,", "has no state"),
        ("state=DONE", "unknown state"),
        ("element= ", "has no element"),
        ("no-live=1", "takes no value"),
        ("finding=HUGE", "unknown severity"),
    ],
)
def test_what_is_nothing_to_wait_for(text, said):
    with pytest.raises(UsageError, match=said):
        parse_condition(text)
