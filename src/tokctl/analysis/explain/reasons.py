"""Why a single token waits that is not at a join: the verdicts of ``tokctl explain``, and the reasons with their text.

Each ``explain_…`` function takes the tokens of the instance and one token that its name fits: a live one at such an
element, or one in that state. ``explanation`` selects among them. The reasons of joins are in ``join_reasons``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.explain.context import TokenRelations
from tokctl.analysis.joins import WaitingJoin
from tokctl.bpmn.element_details import (
    COMPENSATION,
    CONDITION,
    MESSAGE,
    SIGNAL,
    TIMER,
    ElementDetails,
    EventDefinition,
    compute_due_time,
)
from tokctl.model.durations import format_milliseconds
from tokctl.model.element_types import CONTAINER_TYPES
from tokctl.model.states import CANCELLED, COMPLETED, FAILED, SUSPENDED
from tokctl.model.times import format_time
from tokctl.model.visits import Visit
from tokctl.text import one_line

VERDICTS = {
    "WAITS_FOR_JOB": "a job must be completed",
    "JOB_TIMED_OUT": "a job is past its timeout",
    "WAITS_FOR_RETRY": "a failed job must be tried again",
    "WAITS_FOR_PERSON": "a person must complete a task",
    "WAITS_FOR_MESSAGE": "a message must arrive",
    "WAITS_FOR_SIGNAL": "a signal must arrive",
    "WAITS_FOR_TIMER": "a timer must fire",
    "WAITS_FOR_CONDITION": "a condition must become true",
    "WAITS_FOR_EVENT": "an event must occur",
    "WAITS_FOR_ONE_OF_SEVERAL_EVENTS": "one of several events must occur",
    "WAITS_FOR_CALLED_INSTANCE": "the called instance must end",
    "WAITS_FOR_INNER_TOKENS": "the tokens inside the activity must end",
    "WAITS_FOR_COMPENSATION": "the compensation handlers must end",
    "WAITS_AT_JOIN": "tokens must arrive at the join",
    "JOIN_COMPLETE": "all required tokens have arrived at the join",
    "DEADLOCKED_JOIN": "no live token can arrive on a flow that the join requires",
    SUSPENDED: "it must be resumed",
    FAILED: "it must be retried or cancelled",
    "ZOMBIE": "its instance or parent has ended",
    "IN_PASSING": "the element takes no time",
    "UNKNOWN": "unknown",
    COMPLETED: "it has completed",
    CANCELLED: "it was cancelled",
}
"""Every verdict, with its meaning. The ended states and SUSPENDED are verdicts of their own."""

_MAX_CALLED_TOKENS = 3  # that are named
_MAX_ERROR_LENGTH = 1_000  # characters; the evidence has all of them
_STACK_FRAME = re.compile(r"\s*(at \S+\(|\.\.\. \d+ )")

_EVENTS = {
    MESSAGE: "WAITS_FOR_MESSAGE",
    SIGNAL: "WAITS_FOR_SIGNAL",
    TIMER: "WAITS_FOR_TIMER",
    CONDITION: "WAITS_FOR_CONDITION",
}


class DependencyGroup(Struct, frozen=True):
    """Tokens that another token waits for: one of them must continue.

    ``flow`` is the incoming flow of the join on which one of them must arrive; None if the other token is an activity
    that ends when they end.
    """

    flow: str | None
    tokens: tuple[Visit, ...]


class WaitReason(Struct):
    """Why one token waits: ``summary`` in a few words, ``sentences`` in full.

    ``can_continue`` tells whether the token can continue, apart from other tokens: False if it needs an intervention,
    None if that is unknown. ``depends_on`` has the other tokens; one of each group must continue first.
    """

    verdict: str
    summary: str
    sentences: list[str]
    can_continue: bool | None = None
    depends_on: list[DependencyGroup] = []
    join: WaitingJoin | None = None


def wait_kind(visit: Visit) -> tuple[str, str]:
    """Return what a token waits for according to the engine, as kind and name; ('', '') if it does not tell."""
    kind, _, name = (visit.context.waiting_for or "").partition(":")
    return kind, name


def explain_job(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the job that a token waits for, its worker, its timeout and its retries."""
    context = visit.context
    worker, timeout = context.worker_id, context.timeout_at
    job = (f"job {context.job_key}" if context.job_key else "a job") + (
        f" of type {context.job_type}" if context.job_type else ""
    )
    kind = wait_kind(visit)[0]
    if kind == "retry" or (context.retry_at is not None and context.retry_at > tokens.now):
        return _explain_retry(tokens, visit, job)
    free = "No worker has taken it" if kind in {"job", "external_task"} else "No worker is recorded for it"
    sentences = [
        f"It waits for {job} of {tokens.describe_stay(visit)}.",
        f"It is assigned to worker {worker}." if worker else f"{free}.",
        *_describe_last_error(visit),
    ]
    summary = f"waits for {job}" + (f", assigned to worker {worker}" if worker else "")
    late = timeout is not None and timeout < tokens.now
    if timeout is not None and late:
        expired = tokens.format_moment(timeout)
        sentences.append(f"Its timeout was {expired}. It is unknown whether the worker is still working on it.")
        summary += f"; its timeout was {tokens.format_relative(timeout)}"
    elif timeout is not None:
        sentences.append(f"Its timeout is {tokens.format_moment(timeout)}.")
    sentences += _describe_retries(visit) + _describe_timers(tokens, visit)
    return WaitReason(
        "JOB_TIMED_OUT" if late else "WAITS_FOR_JOB", summary, sentences, can_continue=None if late else True
    )


def _explain_retry(tokens: TokenRelations, visit: Visit, job: str) -> WaitReason:
    """Return when a failed job is tried again: until then no worker holds it."""
    at = visit.context.retry_at
    when = "The engine does not tell when it is tried again." if at is None else ""
    if at is not None:
        again = "It should have been tried again" if at <= tokens.now else "It is tried again"
        when = f"{again} at {tokens.format_moment(at)}."
    sentences = [
        f"It waits for the next attempt of {job} of {tokens.describe_stay(visit)}.",
        *(_describe_last_error(visit) or ["The last attempt failed; no error message was recorded."]),
        when,
        *_describe_retries(visit),
        *_describe_timers(tokens, visit),
    ]
    summary = f"waits for the next attempt of {job}{'' if at is None else f' {tokens.format_relative(at)}'}"
    return WaitReason("WAITS_FOR_RETRY", summary, sentences, can_continue=True)


def _describe_last_error(visit: Visit) -> list[str]:
    """Return a sentence on the error of the last attempt of a job, if there was one."""
    message = _format_error(visit)
    return [f"The last attempt failed: {message}."] if message else []


def _format_error(visit: Visit) -> str:
    """Return the error of a token on one line, without stack frames and the period at its end; '' if there is none.

    The cause is often on a later line than the first.
    """
    lines = (line for line in (visit.context.error or "").splitlines() if not _STACK_FRAME.match(line))
    return one_line(" ".join(lines), _MAX_ERROR_LENGTH).removesuffix(".")


def _describe_retries(visit: Visit) -> list[str]:
    """Return sentences on the retries of a job."""
    used, left = visit.context.retries_used, visit.context.retries_left
    attempts = visit.context.failed_attempts  # the first one is not a retry
    sentences = []
    if attempts is not None:
        sentences.append(f"{attempts:,} {'attempt has' if attempts == 1 else 'attempts have'} failed.")
    elif used is not None and used > 0:
        sentences.append(f"It has been retried {'once' if used == 1 else f'{used:,} times'}.")
    if left is not None and left <= 0:
        sentences.append("If it fails, it becomes an incident: no retries are left.")
    elif left is not None:
        sentences.append(f"{left:,} {'retry is' if left == 1 else 'retries are'} left.")
    return sentences


def explain_person(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the person who must complete a task, when it is due, and the timeout."""
    context = visit.context
    worker, timeout, due = context.assignee or context.worker_id, context.timeout_at, context.due_at
    who = f"a person, {worker}," if worker else "a person"
    task = tokens.frame(visit).graph.elements.get(wait_kind(visit)[1])
    if task is None or task.id == visit.element_id:
        sentences = [f"It waits for {who} to complete {tokens.describe_stay(visit)}."]
    else:  # some engines leave the token at the element before
        named = tokens.frame(visit).name(task.id)
        sentences = [f"It waits for {who} to complete the task {named} after {tokens.describe_stay(visit)}."]
    if due is not None:
        sentences.append(f"It {'was' if due < tokens.now else 'is'} due {tokens.format_moment(due)}.")
    if timeout is not None:
        sentences.append(f"Its timeout {'was' if timeout < tokens.now else 'is'} {tokens.format_moment(timeout)}.")
    summary = f"waits for a person{f', {worker}' if worker else ''}"
    return WaitReason("WAITS_FOR_PERSON", summary, sentences + _describe_timers(tokens, visit), can_continue=True)


def _describe_timers(tokens: TokenRelations, visit: Visit) -> list[str]:
    """Return a sentence on each timer boundary event: when it is due, and whether it interrupts the activity."""
    sentences = []
    frame = tokens.frame(visit)
    for boundary in frame.graph.boundary_events(visit.element_id):
        failed = [
            one
            for one in tokens.children.get(visit.token_id, ())
            if (one.element_id, one.state) == (boundary.id, FAILED)
        ]
        if failed:
            sentences.append(f"The timer at it FAILED: {tokens.format_tokens(failed)}.")
            continue
        details = frame.detail(boundary.id)
        for event in details.events:
            if event.kind != TIMER:
                continue
            when = compute_due_time(event, tokens.reached_at(visit))
            targets = ", ".join(frame.name(target.id) for target in frame.graph.flow_targets(boundary.id))
            leads = f", then continues to {targets}" if targets else ""
            does = "interrupts it" if details.interrupting else "fires without interrupting it"
            if when is None:
                timing = f"when it is due ({event.expression or 'not in the model'})"
            elif when > tokens.now:
                timing = f"at {tokens.format_moment(when)}"
            elif event.timer == "timeCycle" or not details.interrupting:
                timing = f"first at {tokens.format_moment(when)}"
            else:
                timing = f"at {tokens.format_moment(when)}, which is in the past"
            sentences.append(f"The timer {frame.name(boundary.id)} {does} {timing}{leads}.")
    return sentences


def explain_event(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return which events a token waits for; any one of them releases it."""
    events = _recorded_events(visit) or _events(tokens.detail(visit), tokens.element_type(visit))
    where = f"at {tokens.describe_stay(visit)}"
    if not events:
        why = "the model does not define it" if tokens.frame(visit).is_known else "the model is unknown"
        timeout = visit.context.timeout_at
        sentences = [f"It waits for an unknown event {where}: {why}."]
        if timeout is not None:
            sentences.append(f"Its timeout {'was' if timeout < tokens.now else 'is'} {tokens.format_moment(timeout)}.")
        return WaitReason(
            "WAITS_FOR_EVENT", "waits for an event", sentences + _describe_competing_events(tokens, visit)
        )
    described = [_describe_event(tokens, event, visit) for event in events]
    wanted = " or ".join(phrase for phrase, _, _ in described)
    verdict = _EVENTS.get(events[0].kind, "WAITS_FOR_EVENT") if len(events) == 1 else "WAITS_FOR_ONE_OF_SEVERAL_EVENTS"
    sentences = [f"It waits for {wanted} {where}.", *(more for _, more, _ in described if more)]
    sentences += _describe_timers(tokens, visit) + _describe_competing_events(tokens, visit)
    can_continue = True if any(can for _, _, can in described) else None
    return WaitReason(verdict, f"waits for {wanted}", sentences, can_continue)


def _recorded_events(visit: Visit) -> tuple[EventDefinition, ...]:
    """Return the event that a token waits for according to the engine, if that tells more than the model."""
    kind, name = wait_kind(visit)
    if kind in {MESSAGE, SIGNAL} and name:
        return (EventDefinition(kind, name),)
    return (EventDefinition(TIMER),) if kind == TIMER and visit.context.due_at is not None else ()


def _events(details: ElementDetails, element_type: str) -> tuple[EventDefinition, ...]:
    """Return the events that an element waits for; that of a receive task is a message."""
    return details.events or ((EventDefinition(MESSAGE),) if element_type == "receiveTask" else ())


def _describe_event(tokens: TokenRelations, event: EventDefinition, visit: Visit) -> tuple[str, str, bool | None]:
    """Return a phrase for an event, a sentence with details or '', and whether it can occur (None if unknown)."""
    named = f" '{event.name}'" if event.name else ""
    if event.kind == TIMER:
        context = visit.context
        when = context.due_at or compute_due_time(event, tokens.reached_at(visit)) or context.timeout_at
        if when is None:
            reason = f": its value is {event.expression}" if event.expression else ""
            return "a timer", f"The model does not define when it is due{reason}.", None
        if when <= tokens.now:
            more = ": it should have continued" if event.timer != "timeCycle" else ", for the first time"
            if SUSPENDED in {visit.state, tokens.context.status.status}:
                more = ""
            return f"the time {format_time(when)}", f"That was {tokens.format_relative(when)}{more}.", None
        return f"the time {format_time(when)}", f"That is {tokens.format_relative(when)}.", True
    if event.kind == CONDITION:
        return f"the condition {event.expression or 'in the model'}", "", None
    if event.kind in {MESSAGE, SIGNAL}:
        return f"the {event.kind}{named}" if named else f"a {event.kind}", "", True
    return f"an event ({event.kind}{named})", "", None


def _describe_competing_events(tokens: TokenRelations, visit: Visit) -> list[str]:
    """Return a sentence on the other events of the event-based gateway that a token came from."""
    above = tokens.ancestry.parent(visit)
    if above is None or tokens.element_type(above) != "eventBasedGateway":
        return []
    others = [other for other in tokens.children[above.token_id] if other.token_id != visit.token_id and other.can_move]
    if not others:
        return []
    listed = tokens.format_tokens(others)
    return [f"The event-based gateway '{above.name}' continues with the first event: this one or {listed}."]


def explain_called_instance(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the instance that a call activity waits for, and what its tokens wait for."""
    called = visit.context.called_instance_id or wait_kind(visit)[1]
    steps = tokens.context.explain_called(called) if called else ()
    sentences = [
        f"It waits for the called instance {called or '(unknown)'} to end, at {tokens.describe_stay(visit)}.",
        *(f"In it, '{step.token.name}' ({step.token.token_id}) {step.summary}." for step in steps[:_MAX_CALLED_TOKENS]),
    ]
    if len(steps) > _MAX_CALLED_TOKENS:
        sentences.append(f"{len(steps) - _MAX_CALLED_TOKENS:,} more of its tokens have not finished.")
    answers = {step.can_continue for step in steps}
    summary = f"waits for the called instance {called}" + (
        f", in which '{steps[0].token.name}' {steps[0].summary}" if steps else ""
    )
    can_continue = False if False in answers else None if None in answers or not steps else True
    return WaitReason(
        "WAITS_FOR_CALLED_INSTANCE", summary, sentences + _describe_timers(tokens, visit), can_continue=can_continue
    )


def explain_event_gateway(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return between which events an event-based gateway chooses."""
    element, frame = tokens.element(visit), tokens.frame(visit)
    targets = [] if element is None else frame.graph.flow_targets(element.id)
    offers, can_continue = [], None
    for target in targets:
        described = [_describe_event(tokens, e, visit) for e in _events(frame.detail(target.id), target.type)]
        phrases = " or ".join(phrase for phrase, _, _ in described)
        offers.append(frame.name(target.id) + (f" ({phrases})" if phrases else ""))
        can_continue = can_continue or (True if any(can for _, _, can in described) else None)
    sentences = [
        (
            f"It waits at {tokens.element_phrase(visit)} for the first of several events"
            f"{tokens.format_elapsed(tokens.reached_at(visit))}."
        )
    ]
    sentences.append(
        f"These are {', '.join(offers)}." if offers else "The events are unknown, because the model is unknown."
    )
    summary = f"waits for the first of {', '.join(offers)}" if offers else "waits for one of several events"
    return WaitReason("WAITS_FOR_ONE_OF_SEVERAL_EVENTS", summary, sentences, can_continue)


def explain_container(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the tokens that must end before an activity ends."""
    inside = tokens.inner.get(visit.token_id, [])
    live = [one for one in inside if one.can_move]
    failed = [one for one in inside if not one.can_move]
    repeats = [one for one in tokens.children.get(visit.token_id, ()) if one.element_id == visit.element_id]
    calls = tokens.detail(visit).calls
    element_phrase = f"{'all instances of' if repeats else 'the tokens inside'} {tokens.element_phrase(visit)}"
    called = f" (it calls the process '{calls}')" if calls else ""
    sentences = [f"It waits for {element_phrase}{called} to end{tokens.format_elapsed(tokens.reached_at(visit))}."]
    if repeats:
        over = sum(one.state == COMPLETED for one in repeats)
        sentences.append(f"{over:,} of {len(repeats):,} started instances have completed.")
    if live:
        sentences.append(f"Still live: {tokens.format_tokens(live)}.")
    if failed:
        sentences.append(f"FAILED: {tokens.format_tokens(failed)}.")
    if not inside:
        several = [one for one in tokens.context.visits if one.can_move and visit in tokens.possible_containers(one)]
        sentences.append(
            f"It is unknown which of its live runs these tokens are in: {tokens.format_tokens(several)}."
            if several
            else "No live token inside it is recorded: it may not have started, or its tokens were not recorded."
        )
    return WaitReason(
        "WAITS_FOR_INNER_TOKENS",
        "waits for the tokens inside it to end",
        sentences + _describe_timers(tokens, visit),
        depends_on=[DependencyGroup(None, (one,)) for one in inside],
    )


def explain_pass_through(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the reason of a token at an element that takes no time."""
    if not tokens.element_type(visit):
        sentences = [
            f"It is unknown what it waits for, because the type of its element '{visit.element_id}' is unknown."
        ]
        return WaitReason("UNKNOWN", "is at an element of unknown type", sentences)
    if any(event.kind == COMPENSATION for event in tokens.detail(visit).events):
        return _explain_compensation(tokens, visit)
    sentences = [
        f"It is {visit.state} at {tokens.describe_stay(visit)}.",
        "This element takes no time. If the token stays here, the engine has stopped while executing it.",
    ]
    return WaitReason("IN_PASSING", f"is {visit.state} at an element that needs no waiting", sentences)


def _explain_compensation(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return which compensation handlers have not ended; those that the event is known to have started."""
    started = [one for one in tokens.children.get(visit.token_id, ()) if tokens.detail(one).compensation_handler]
    handlers = [one for one in started if one.live]
    sentences = [
        f"It waits for the compensation to end, at {tokens.describe_stay(visit)}.",
        f"Still live: {tokens.format_tokens(handlers)}." if handlers else "Its live handlers are unknown.",
    ]
    return WaitReason(
        "WAITS_FOR_COMPENSATION",
        "waits for the compensation to end",
        sentences,
        can_continue=True if handlers else None,
        depends_on=[DependencyGroup(None, (one,)) for one in handlers],
    )


def explain_suspended(tokens: TokenRelations, visit: Visit, otherwise: WaitReason) -> WaitReason:
    """Return the reason of a suspended token; ``otherwise`` is its reason apart from that."""
    own = visit.state == SUSPENDED
    subject = "It is SUSPENDED" if own else f"It is {visit.state}, but its instance is SUSPENDED"
    since = visit.entered_at if own else None
    sentences = [
        f"{subject}{tokens.format_elapsed(since)}. It does not continue until it is resumed.",
        f"In addition, it {otherwise.summary}.",
        *otherwise.sentences[1:],
    ]
    return replace(otherwise, verdict=SUSPENDED, summary="is suspended", sentences=sentences, can_continue=False)


def explain_zombie(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the ended instance or cancelled token that a zombie token belongs to."""
    reason = tokens.zombies[visit.token_id]
    sentences = [
        f"It cannot continue: it is {reason}.",
        "The engine no longer handles it, or its end was not recorded.",
    ]
    return WaitReason("ZOMBIE", f"is {reason}", sentences, can_continue=False)


# --- tokens that have ended ---


def _format_end(tokens: TokenRelations, visit: Visit, *, duration: bool = True) -> str:
    took = visit.duration if duration else None
    after = "" if took is None else f" after {'~' * took.derived}{format_milliseconds(took.ms)}"
    return after if visit.finished_at is None else f"{after}, at {tokens.format_moment(visit.finished_at)}"


def _is_within(tokens: TokenRelations, visit: Visit, above: Visit) -> bool:
    """Tell whether a child of a token is inside it, and does not follow it."""
    if visit.element_id == above.element_id:  # one of several instances, unless it is the next pass of a loop
        return above.finished_at is None or visit.created_at is None or visit.created_at < above.finished_at
    if tokens.element_type(above) not in CONTAINER_TYPES:
        return False
    element, around = tokens.element(visit), tokens.frame(above)
    if tokens.frame(visit) is not around:
        return True
    if element is not None:
        return element.parent == above.element_id
    began, ended = visit.created_at, above.finished_at
    if tokens.element_type(visit) == "boundaryEvent" or began is None or ended is None:
        return False
    return began < ended


def _describe_successors(tokens: TokenRelations, visit: Visit, described: Sequence[Visit] = ()) -> list[str]:
    """Return sentences on the tokens inside and after a token, without those that are described already."""
    inside: list[Visit] = []
    successors: list[Visit] = []
    for one in tokens.successors(visit):
        if one not in described:
            (inside if _is_within(tokens, one, visit) else successors).append(one)
    continued = "had continued" if visit.state == CANCELLED else "continued"
    return [
        *([f"Tokens started inside it: {tokens.format_tokens(inside)}."] if inside else []),
        *([f"It {continued} to {tokens.format_tokens(successors)}."] if successors else []),
    ]


def explain_completed(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return when a token completed, and its next tokens."""
    sentences = [f"It does not wait: it completed {tokens.element_phrase(visit)}{_format_end(tokens, visit)}."]
    decision = visit.context.gateway_decision
    if decision is not None and decision.selected_flow:
        because = f" ({decision.condition_evaluated})" if decision.condition_evaluated else ""
        sentences.append(f"The gateway chose {decision.selected_flow}{because}.")
    went, above = _describe_successors(tokens, visit), tokens.ancestry.parent(visit)
    element = tokens.element(visit)
    if went:
        sentences += went
    elif above is not None and above.element_id == visit.element_id and _is_within(tokens, visit, above):
        sentences.append(f"It was one of the instances of {tokens.format_tokens([above])}.")
    elif element is not None and element.outgoing:
        sentences.append("The next token is not recorded.")
    return WaitReason(COMPLETED, "has completed", sentences)


def explain_cancelled(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return when a token was cancelled, and by what."""
    sentences = [f"It does not wait: it was cancelled at {tokens.element_phrase(visit)}{_format_end(tokens, visit)}."]
    fired = _find_fired_boundary_events(tokens, visit)
    if fired:
        sentences.append(f"{tokens.format_tokens(fired)} occurred at it.")
    if not any(tokens.detail(one).interrupting for one in fired):
        sentences += _describe_cancellation(tokens, visit)
    sentences += _describe_successors(tokens, visit, fired)
    return WaitReason(CANCELLED, "was cancelled", sentences)


def _find_fired_boundary_events(tokens: TokenRelations, visit: Visit) -> list[Visit]:
    """Return the boundary events that occurred at an activity."""
    return [one for one in tokens.successors(visit) if tokens.element_type(one) == "boundaryEvent"]


def _describe_cancellation(tokens: TokenRelations, visit: Visit) -> list[str]:
    """Return a sentence on the cause: another event of the gateway, a cancelled scope, or the whole instance."""
    above = tokens.ancestry.parent(visit)
    if above is not None and tokens.element_type(above) == "eventBasedGateway":
        won = [one for one in tokens.children[above.token_id] if one.state == COMPLETED]
        if won:
            return [f"Another event occurred first: {tokens.format_tokens(won)}."]
    for current, parent in tokens.ancestry.lineage(visit):
        if parent is not None and parent.state == CANCELLED and _is_within(tokens, current, parent):
            return [f"The activity that contains it was also cancelled: {tokens.format_tokens([parent])}."]
    return ["The whole instance was cancelled."] if tokens.context.status.status == CANCELLED else []


def explain_failed(tokens: TokenRelations, visit: Visit) -> WaitReason:
    """Return the error of a token that FAILED, and whether it was retried."""
    message, first_line = _format_error(visit), (visit.context.error or "").partition("\n")[0].rstrip()
    used = visit.context.retries_used
    attempts = visit.context.failed_attempts or (used + 1 if used is not None and used > 0 else 1)
    tries = f" after {attempts:,} attempts" if attempts > 1 else ""
    sentences = [f"It FAILED at {tokens.element_phrase(visit)}{tries}{_format_end(tokens, visit, duration=False)}."]
    failed_at = visit.context.failed_element_id
    if failed_at is not None and failed_at != visit.element_id:
        sentences.append(f"The engine was executing {tokens.frame(visit).name(failed_at)} ({failed_at}).")
    sentences.append(f"The error: {message}." if message else "No error message was recorded.")
    summary = f"FAILED: {first_line}" if first_line else "FAILED"
    called = visit.context.called_instance_id
    steps = (
        [] if called is None else [one for one in tokens.context.explain_called(called) if one.token.state == FAILED]
    )
    if called is not None:
        sentences.append(f"The incident is one of the called instance {called}.")
        sentences += [
            f"In it, '{step.token.name}' ({step.token.token_id}) {step.summary}." for step in steps[:_MAX_CALLED_TOKENS]
        ]
        if steps:
            summary = f"FAILED in the called instance {called}, in which '{steps[0].token.name}' {steps[0].summary}"
    again = tokens.find_retry(visit)
    fired, status = _find_fired_boundary_events(tokens, visit), tokens.context.status
    ended = status.status in {COMPLETED, CANCELLED} and not status.status_derived
    if again is not None:
        sentences.append(f"It was retried as {tokens.format_tokens([again])}.")
    elif fired:
        sentences.append(f"{tokens.format_tokens(fired)} occurred at it.")
    elif ended:
        sentences.append(f"Its instance is {status.status}, but this token was not retried, completed or cancelled.")
    else:
        where = " in the called instance" if steps else ""
        sentences.append(f"It is an incident: it must be retried or cancelled{where}.")
    return WaitReason(
        FAILED,
        summary,
        sentences,
        can_continue=None if again or fired else False,
    )
