"""The debug rules, each in a module of its own. What a rule is stands in ``base``."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tokctl.process.rules.base import Rule

RULES = {
    "COMMON_CAUSE": "common_cause:CommonCause",
    "FAILED_TOKENS": "failed:Failed",
    "RETRIES_EXHAUSTED": "retries_exhausted:RetriesExhausted",
    "TIMED_OUT_TOKENS": "timed_out:TimedOut",
    "DEADLOCKED_JOIN": "deadlocked_join:DeadlockedJoin",
    "LONG_RUNNING_TOKENS": "long_running:LongRunning",
    "STUCK_GATEWAY_TOKENS": "stuck_gateway:StuckGateway",
    "ZOMBIE_TOKENS": "zombie:Zombie",
    "SLOWER_THAN_USUAL": "slower_than_usual:SlowerThanUsual",
    "HIGH_RETRY_TOKENS": "high_retry:HighRetry",
    "LOOPING_TOKENS": "looping:Looping",
    "SUSPENDED_TOKENS": "suspended:Suspended",
    "ORPHANED_TOKENS": "orphaned:Orphaned",
    "BROKEN_LINKS": "broken_links:BrokenLinks",
    "TIME_ANOMALIES": "time_anomalies:TimeAnomalies",
}
"""Name → module and class, in the order in which findings of the same severity are told."""


def load(name: str) -> type[Rule]:
    """Import a rule."""
    module, _, attribute = RULES[name].partition(":")
    return cast("type[Rule]", getattr(import_module(f"{__name__}.{module}"), attribute))
