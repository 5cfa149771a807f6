"""What happened to an instance, in words: a summary, and its steps in order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokctl.analysis.explain.explanation import Explanation
from tokctl.model.durations import format_timedelta
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import CANCELLED, FAILED, is_final
from tokctl.model.times import from_micros, to_micros
from tokctl.model.visits import Visit
from tokctl.report.texts import UNKNOWN, show_age, show_duration, show_process, show_status
from tokctl.services.report import InstanceReport
from tokctl.text import count, shorten

MAX_STEPS = 40
"""Steps that are told; of more, the failures, the first and the last."""
MAX_NAMED = 3
_MAX_TEXT = 300
_FIRST_STEPS = 8


class StoryStep(NamedTuple):
    """A step: when, which element, and what happened there. One without a ``name`` stands for those left out."""

    time: datetime | None
    name: str
    element_id: str
    text: str
    kind: str = ""


def summarize(report: InstanceReport, now: datetime) -> list[str]:
    """Return what a reader needs to know first, as sentences: the status, problems, and whether it can continue."""
    return [_tell_status(report.status, now), *_tell_problems(report, now), *_tell_prospects(report.explanations)]


def _tell_status(status: InstanceStatus, now: datetime) -> str:
    took = status.elapsed(now)
    about = f"This instance of {show_process(status)} is {show_status(status)}"
    has_ended = status.ended_at is not None or is_final(status.status or "")
    if took is None:
        return f"{about}; {'how long it took' if has_ended else 'when it started'} is unknown."
    if took < timedelta():
        return f"{about}; according to its times, {'it ended before it started' if has_ended else 'it starts later'}."
    if has_ended:
        return f"{about}. It took {format_timedelta(took)}."
    return f"{about}, {format_timedelta(took)} after its start."


def _tell_problems(report: InstanceReport, now: datetime) -> Iterator[str]:
    failed = [visit for visit in report.flow.visits if visit.state == FAILED]
    for visit in failed[:MAX_NAMED]:
        error = visit.context.error
        age = show_age(visit.entered_at or visit.updated_at, now)
        yield f"{visit.name} FAILED{f' {age}' if age else ''}{_tell_error(error)}"
    if len(failed) > MAX_NAMED:
        yield f"{count(len(failed) - MAX_NAMED, 'more token')} FAILED."
    trouble = report.trouble
    if trouble is None:
        yield f"No problems found ({count(len(report.debug.rules), 'rule')} checked)."
    elif not failed:
        worst = trouble.tokens[0].match
        yield f"{worst.visit.name}: {_cut(worst.text)}"


def _tell_prospects(known: Sequence[Explanation]) -> Iterator[str]:
    blocked = sum(one.can_continue is False for one in known)
    if blocked:
        every = blocked == len(known)
        yield (
            "It cannot continue without an intervention."
            if every
            else f"{blocked:,} of {count(len(known), 'live token')} cannot continue without an intervention."
        )
    elif known:
        is_sure = all(one.can_continue for one in known)
        yield (
            "It continues once the event that it waits for occurs."
            if is_sure
            else "Whether all tokens can continue is unknown."
        )


def tell_story(report: InstanceReport) -> list[StoryStep]:
    """Return the steps in order of time: what each token did, and where tokens are now."""
    flow = report.flow
    steps: list[tuple[int, int, int, StoryStep]] = []
    for number, n in enumerate(flow.by_begin):
        if n in flow.untimed:
            continue
        visit = flow.visits[n]
        weight, text, kind = _tell_visit(visit, show_duration(flow.took(n), live=visit.live))
        stays = visit.live and visit.state != FAILED
        at = flow.begins[n] if stays else flow.ends[n]
        is_known = n not in (flow.unknown_begin if stays else flow.unknown_end)
        if visit.state == FAILED:
            failed_at = visit.entered_at or visit.updated_at
            at, is_known = to_micros(failed_at) or flow.begins[n], failed_at is not None
        time = from_micros(at) if is_known else None
        steps.append((at, number, weight, StoryStep(time, visit.name, visit.element_id, text, kind)))
    steps.sort(key=lambda step: step[:2])
    return list(_shorten_story(steps))


def _tell_visit(visit: Visit, took: str) -> tuple[int, str, str]:
    """Return how much a token matters to the story, what it did, and the class of its state."""
    context = visit.context
    retries = f" after {count(context.retries_used, 'retry', 'retries')}" if context.retries_used else ""
    worker = f" ({context.worker_id})" if context.worker_id else ""
    if visit.state == FAILED:
        error = context.error
        return 2, f"failed{retries}{worker}{_tell_error(error)}", FAILED
    if visit.state == CANCELLED:
        return 2, f"cancelled after {took}.", ""
    if visit.live:
        return 2, f"reached; it is {visit.state} now{worker}.", "live"
    decision = context.gateway_decision
    if decision is not None and decision.selected_flow:
        because = f", because {_cut(decision.condition_evaluated)}" if decision.condition_evaluated else "."
        return 1, f"took {decision.selected_flow}{because}", ""
    if took in {UNKNOWN, "0ms", "~0ms"}:
        return 0, "passed.", ""
    return (2 if retries else 1), f"completed in {took}{retries}{worker}.", ""


def _tell_error(error: str | None) -> str:
    return f": {_cut(error)}" if error else "; no error message was recorded."


def _shorten_story(steps: list[tuple[int, int, int, StoryStep]]) -> Iterator[StoryStep]:
    """Yield the steps, or of too many the most important ones, with a step for each gap."""
    chosen = set(range(len(steps)))
    if len(steps) > MAX_STEPS:
        ranked = sorted(chosen, key=lambda n: (-steps[n][2] if n >= _FIRST_STEPS else -3, -n))
        chosen = set(ranked[:MAX_STEPS])
    omitted = 0
    for number, (*_, step) in enumerate(steps):
        if number in chosen:
            if omitted:
                yield StoryStep(None, "", "", f"{count(omitted, 'further step')}.")
            omitted = 0
            yield step
        else:
            omitted += 1
    if omitted:
        yield StoryStep(None, "", "", f"{count(omitted, 'further step')}.")


def _cut(text: str) -> str:
    """Return a text as the end of a sentence."""
    shown = shorten(" ".join(text.split()), _MAX_TEXT)
    return shown if shown.endswith((".", "!", "?", "…")) else f"{shown}."
