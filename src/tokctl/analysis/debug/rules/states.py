"""Rules on the states of tokens: FAILED, called instances that failed, long running, at a gateway, SUSPENDED."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from tokctl.analysis.debug.rules.base import (
    HIGH,
    LOW,
    Rule,
    RuleContext,
    RuleMatch,
    duration_threshold,
    integer_threshold,
)
from tokctl.analysis.joins import WaitingJoin
from tokctl.model.durations import format_timedelta
from tokctl.model.element_types import is_joining_gateway, type_matches
from tokctl.model.states import FAILED, SUSPENDED, WAITING
from tokctl.model.visits import Visit
from tokctl.text import one_line


class Failed(Rule):
    """A token is FAILED: an incident that no automatic retry will resolve. FAILED_CALLS finds those of callers."""

    name = "FAILED_TOKENS"
    severity = HIGH
    meaning = "FAILED tokens, which are not retried automatically."
    finds_stuck = True
    needs_failed_only = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the FAILED tokens."""
        for visit in context.live if FAILED in context.states else ():
            if visit.state != FAILED or visit.context.called_instance_id is not None:
                continue
            since = visit.entered_at or visit.finished_at or visit.created_at
            yield RuleMatch(visit, _describe_failure, since, details=_get_retries)


class FailedCalls(Rule):
    """A call activity is FAILED because a token of the instance that it calls is.

    Some engines repeat an incident on all callers, up to the first. FAILED_TOKENS finds the one to resolve.
    """

    name = "FAILED_CALLS"
    severity = HIGH
    meaning = "Call activities whose called instance has a FAILED token."
    needs_failed_only = True
    is_consequence = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the FAILED tokens that have called an instance."""
        for visit in context.live if FAILED in context.states else ():
            called = visit.context.called_instance_id
            if visit.state != FAILED or called is None:
                continue
            since = visit.entered_at or visit.finished_at or visit.created_at
            yield RuleMatch(visit, _describe_failed_call, since, details={"called_instance_id": called})


def _describe_failed_call(visit: Visit) -> str:
    error = visit.context.error
    what = ": " + one_line(error.partition("\n")[0]) if error else ""
    return f"the called instance {visit.context.called_instance_id} failed{what}"


def _describe_failure(visit: Visit) -> str:
    retries, error = visit.context.retries_used, visit.context.error
    attempts = visit.context.failed_attempts
    after = f" after {retries:,} {'retry' if retries == 1 else 'retries'}" if retries else ""
    if attempts is not None:
        after = f" after {attempts:,} attempts" if attempts > 1 else ""
    return f"failed{after}" + (": " + one_line(error.partition("\n")[0]) if error else "")


def _get_retries(visit: Visit) -> dict[str, Any]:
    return {"retries": visit.context.retries_used} if visit.context.retries_used else {}


class LongRunning(Rule):
    """A token has been ACTIVE, or has waited for a job, for longer than the threshold (documented for ACTIVE).

    Some engines have their tokens WAITING while a worker does the job.
    """

    name = "LONG_RUNNING_TOKENS"
    severity = HIGH
    meaning = "Tokens that have been ACTIVE, or WAITING for a job, for too long."
    thresholds = (
        duration_threshold("long_running", timedelta(minutes=10), "ACTIVE, or WAITING for a job, for longer than this"),
    )
    finds_stuck = True

    def find(self, context: RuleContext) -> Iterable[RuleMatch]:
        """Check the ACTIVE tokens, and those that wait for a job; of a scope, only the tokens within."""
        running = [v for v in context.live if v.context.is_running(v.state)]
        return _find_older(running, context, self.limits["long_running"], "runningTime")


class StuckGateway(Rule):
    """A token has been WAITING at a gateway for longer than the threshold (documented).

    The documented check knows no model, so it also finds joins that only wait for a branch that takes its time. Those
    at which, according to the model, tokens can still arrive on all missing flows are left out, unless the threshold
    ``waiting_joins`` is 1. A gateway that waits for events which the engine names may wait for as long as it takes.
    """

    name = "STUCK_GATEWAY_TOKENS"
    severity = HIGH
    meaning = "Tokens that have been WAITING at a gateway for too long."
    thresholds = (
        duration_threshold("stuck_gateway", timedelta(minutes=5), "WAITING at a gateway for longer than this"),
        integer_threshold("waiting_joins", 0, "1: also at joins where tokens can still arrive", maximum=1),
    )
    needs_finished = True
    needs_flow_history = True
    finds_stuck = True
    is_consequence = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the WAITING tokens."""
        waiting = [v for v in context.live if v.state == WAITING and type_matches(v.element_type or "", "gateway")]
        stuck = [v for v in waiting if not v.context.waits_for_event]
        found = _find_older(stuck, context, self.limits["stuck_gateway"], "waitingTime")
        if not found:
            return
        joins = {token.token_id: join for join in context.waiting_joins for token in join.tokens}
        for match in found:
            join = joins.get(match.visit.token_id)
            if join is not None and join.can_continue and not self.limits["waiting_joins"]:
                continue
            if is_joining_gateway(match.visit.element_type):
                match = replace(match, message=f"{match.text}; {_describe_join(join, context)}")  # noqa: PLW2901
            yield match


def _describe_join(join: WaitingJoin | None, context: RuleContext) -> str:
    """Return what is known about whether a join can continue."""
    if join is not None and join.dead:
        return f"no token can arrive on {', '.join(flow.flow for flow in join.dead)}"
    if join is not None and join.can_continue:
        return f"can continue when tokens arrive on {', '.join(flow.flow for flow in join.needed)}"
    if join is not None and join.can_continue is False:
        return "all required tokens have arrived"
    if context.definition is None:
        why = "the process model is unknown"
    else:
        why = (join.unknown if join is not None else None) or "the process model does not match the tokens"
    return f"unknown whether it can continue: {why}"


class Suspended(Rule):
    """A token is SUSPENDED until it is resumed."""

    name = "SUSPENDED_TOKENS"
    severity = LOW
    meaning = "SUSPENDED tokens, which wait until they are resumed."
    thresholds = (duration_threshold("suspended", timedelta(0), "SUSPENDED for at least this long"),)

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the SUSPENDED tokens."""
        for visit in context.live:
            if visit.state != SUSPENDED:
                continue
            # The creation time does not tell when the token was suspended.
            since = visit.entered_at or visit.updated_at
            lasted = max(context.now - since, timedelta(0)) if since is not None else None  # clocks may differ
            if lasted is None:
                yield RuleMatch(visit, "SUSPENDED", since)
            elif lasted >= self.limits["suspended"]:
                yield RuleMatch(visit, f"SUSPENDED for {format_timedelta(lasted)}", since, lasted.total_seconds())


def _find_older(visits: Iterable[Visit], context: RuleContext, limit: timedelta, member: str) -> list[RuleMatch]:
    """Return the tokens older than a limit; ``member`` of the JSON is their age in minutes, halves rounded up."""
    now, latest = context.now, context.before(limit)

    def describe(visit: Visit) -> str:
        return _format_state_age(visit, now)

    def get_minutes(visit: Visit) -> dict[str, Any]:
        return {member: math.floor((now - (visit.created_at or now)).total_seconds() / 60 + 0.5)}

    return [
        RuleMatch(visit, describe, created, 0.0, get_minutes)
        for visit in visits
        if (created := visit.created_at) is not None and created < latest
    ]


def _format_state_age(visit: Visit, now: datetime) -> str:
    """Return ``ACTIVE for 23m``; ``ACTIVE now, there for 23m`` if the token was in another state before."""
    created, entered = visit.created_at or now, visit.entered_at
    changed = entered is not None and entered > created
    return f"{visit.state} {'now, there for' if changed else 'for'} {format_timedelta(now - created)}"
