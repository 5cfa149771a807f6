"""What can be waited for, and when it holds, may yet hold, or never will."""

from __future__ import annotations

import pytest

from tokctl.errors import UsageError
from tokctl.process.conditions import Facts, judge, parse_condition


def never_asked(*_):
    raise AssertionError("this costs something, and was not needed")


def facts(**fields):
    base = {"status": "ACTIVE", "total_tokens": 3, "live_tokens": 1, "over": False}
    return Facts(**base | {"reached": never_asked, "severity": never_asked} | fields)


@pytest.mark.parametrize(
    ("text", "given", "verdict"),
    [
        ("state=COMPLETED", {}, None),
        ("state=COMPLETED", {"status": "COMPLETED"}, True),
        ("state=completed", {"status": "COMPLETED", "over": True}, True),
        ("state=COMPLETED", {"status": "FAILED"}, None),  # derived, it may yet change
        ("state=COMPLETED", {"status": "FAILED", "over": True}, False),
        ("state=TERMINATED, failed", {"status": "CANCELLED"}, True),
        ("state=COMPLETED", {"status": None}, None),
        ("element=pick", {"reached": lambda pattern: pattern == "pick"}, True),
        ("element=pick*", {"reached": lambda pattern: pattern == "pick"}, None),
        ("element=a=b", {"reached": lambda pattern: pattern == "a=b"}, True),
        ("element=pick", {"reached": lambda _: False, "over": True}, False),
        ("element=pick", {"reached": lambda _: True, "over": True}, True),
        ("no-live", {}, None),
        ("no-live", {"live_tokens": 0}, True),
        ("NO-LIVE", {"live_tokens": 0, "total_tokens": 0}, None),
        ("no-live", {"live_tokens": 0, "total_tokens": 0, "over": True}, True),
        ("no-live", {"over": True}, None),
        ("finding=HIGH", {"severity": lambda: "HIGH"}, True),
        ("finding=high", {"severity": lambda: "MEDIUM"}, None),
        ("finding=medium", {"severity": lambda: "HIGH"}, True),
        ("finding=LOW", {"severity": lambda: None}, None),
        ("finding=LOW", {"severity": lambda: None, "over": True}, False),
    ],
)
def test_conditions(text, given, verdict):
    assert judge(parse_condition(text), facts(**given)) is verdict


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing to wait for"),
        ("stat=COMPLETED", "did you mean 'state'"),
        ("state", "names no state"),
        ("state=", "names no state"),
        ("state=,", "names no state"),
        ("state=DONE", "unknown state"),
        ("element= ", "names no element"),
        ("no-live=1", "takes no value"),
        ("finding=HUGE", "unknown severity"),
    ],
)
def test_what_is_nothing_to_wait_for(text, said):
    with pytest.raises(UsageError, match=said):
        parse_condition(text)
