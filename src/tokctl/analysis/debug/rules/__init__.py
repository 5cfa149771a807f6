"""The debug rules. The base class and the types that rules use are in ``base``."""

from __future__ import annotations

from importlib import import_module

from tokctl.analysis.debug.rules.base import Rule

RULES = {
    "COMMON_CAUSE": "common_cause:CommonCause",
    "FAILED_TOKENS": "states:Failed",
    "FAILED_CALLS": "states:FailedCalls",
    "RETRIES_EXHAUSTED": "jobs:RetriesExhausted",
    "TIMED_OUT_TOKENS": "jobs:TimedOut",
    "DEADLOCKED_JOIN": "deadlocked_join:DeadlockedJoin",
    "JOB_NOT_TAKEN": "job_not_taken:JobNotTaken",
    "LONG_RUNNING_TOKENS": "states:LongRunning",
    "STUCK_GATEWAY_TOKENS": "states:StuckGateway",
    "ZOMBIE_TOKENS": "zombie:Zombie",
    "SLOWER_THAN_USUAL": "slower_than_usual:SlowerThanUsual",
    "HIGH_RETRY_TOKENS": "jobs:HighRetry",
    "LOOPING_TOKENS": "links:Looping",
    "SUSPENDED_TOKENS": "states:Suspended",
    "ORPHANED_TOKENS": "links:Orphaned",
    "BROKEN_LINKS": "links:BrokenLinks",
    "TIME_ANOMALIES": "time_anomalies:TimeAnomalies",
}
"""Name → module and class, in the order in which findings of the same severity are reported."""


def load(name: str) -> type[Rule]:
    """Import the class of a rule of tokctl. Raises KeyError for an unknown name."""
    module, _, attribute = RULES[name].partition(":")
    rule: type[Rule] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return rule
