"""The visits of an instance of atomd, from its tokens, jobs and timers and from the process model.

atomd moves one token through the elements: it sends where a token is and when it got there. Its earlier visits are
known only where a job was done. So one token of atomd becomes several tokens here, one for each known visit: the
present one keeps the id, an earlier one has the id ``TOKEN@JOB``. A visit follows another if the model has exactly one
path between the two without an activity or event at which the token may have stayed; other predecessors are unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.bpmn.element_details import MESSAGE, SIGNAL, TIMER, ElementDetails, read_element_details
from tokctl.bpmn.entries import EnteredBy
from tokctl.bpmn.flow_reconstruction import link_visits
from tokctl.bpmn.graph import ProcessGraph, has_path
from tokctl.engines.atomd.documents import Job, Timer
from tokctl.engines.instance_tokens import keep_newest
from tokctl.model.definitions import Definition, Element
from tokctl.model.element_types import SUB_PROCESS_TYPES
from tokctl.model.json_values import decode_value
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, WAITING, is_final
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, UNKNOWN_ELEMENT_ID, Token

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class AtomdModel:
    """A process model as the visits need it; empty if the definition is unknown."""

    def __init__(self, definition: Definition | None) -> None:
        self.definition = definition
        self.graph = ProcessGraph(definition)

    @cached_property
    def details(self) -> Mapping[str, ElementDetails]:
        """What the XML defines for the elements, by id."""
        return read_element_details(self.definition)

    @cached_property
    def elements_by_job_type(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of the elements by the type of their jobs."""
        from tokctl.bpmn.parser import read_root

        found: dict[str, tuple[str, ...]] = defaultdict(tuple)
        if self.definition is None or not self.definition.xml:
            return found
        for node in read_root(self.definition.xml).iter():
            if (element_id := node.get("id")) in self.graph.elements:
                for extension in node.findall("./*/{*}taskDefinition"):
                    found[extension.get("type", "")] += (str(element_id),)
        return found

    def element_of(self, job: Job) -> Element | None:
        """Return the element of a job by its type; None if there are several, or the type is an expression."""
        fitting = self.elements_by_job_type.get(job.type or "", ())
        return self.graph.elements[fitting[0]] if len(fitting) == 1 else None

    def start_event(self, scope: str | None) -> str | None:
        """Return the start event of the process, or of a sub-process; None if there are several."""
        starts = [one.id for one in self.graph.elements.values() if one.type == "startEvent" and one.parent == scope]
        return starts[0] if len(starts) == 1 else None


def split_into_visits(
    tokens: Sequence[Token],
    jobs: Iterable[Job],
    model: AtomdModel,
    *,
    timers: Iterable[Timer] = (),
    waiting_for: Mapping[str, str] = {},
) -> list[Token]:
    """Return the visits of an instance in order of arrival.

    Of a token that appears twice, as it may if it moves to another page, the last one counts. ``waiting_for`` has what
    tokens wait for, by token id, where atomd was asked for it.
    """
    newest = list(keep_newest(tokens))
    by_token: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_token[job.token_id or ""].append(job)
    born: dict[str, datetime] = {}  # when the first child of each token was created
    for token in newest:
        if token.parent_token_id and token.created_at:
            first = born.get(token.parent_token_id)
            born[token.parent_token_id] = token.created_at if first is None else min(first, token.created_at)
    due = {timer.element_id: timer for timer in timers if timer.is_scheduled}
    stays: dict[str, list[Token]] = {}
    for token in newest:
        own = by_token[token.token_id][::-1]  # atomd sends the newest first, and times in whole seconds
        own.sort(key=lambda job: job.created_at or _EARLIEST)
        stays[token.token_id] = _visits_of_token(
            token, own, model, born.get(token.token_id), due, waiting_for.get(token.token_id)
        )
    visits = [one for token in newest for one in _link(token, stays, model)]
    return _add_children(sorted(visits, key=lambda one: (one.created_at is not None, one.created_at or 0)))


def assign_jobs(jobs: Sequence[Job], tokens: Sequence[Token], model: AtomdModel) -> list[Job] | None:
    """Return the jobs of an instance, each with its token; None if some may be of several tokens.

    The token of an open job is at its element; that of another job has gone on from there.
    """
    if len(tokens) == 1:
        return [replace(job, token_id=tokens[0].token_id) for job in jobs]
    found: list[Job] = []
    for job in jobs:
        element = model.element_of(job)
        if element is None:
            return None
        gone_on = [] if job.is_open else [one for one in tokens if has_path(model.graph, element.id, one.element_id)]
        fitting = {one.token_id for one in tokens if one.element_id == element.id} | {one.token_id for one in gone_on}
        if len(fitting) != 1:
            return None
        found.append(replace(job, token_id=fitting.pop()))
    return found


def visits_of_jobs(jobs: Iterable[Job], model: AtomdModel, process_id: str | None) -> list[Token]:
    """Return the tokens that wait for jobs, as far as the jobs alone tell."""
    return [
        replace(_job_visit(job, model, FAILED if job.state == FAILED else WAITING, process_id), token_id=job.token_id)
        for job in jobs
        if job.is_open and job.token_id
    ]


# --- visits -----------------------------------------------------------------------------------------------


def _visits_of_token(
    token: Token,
    jobs: Sequence[Job],
    model: AtomdModel,
    first_child: datetime | None,
    due: Mapping[str, Timer],
    waiting_for: str | None,
) -> list[Token]:
    """Return the visits of one token, the present one last; they are not linked yet."""
    element = model.graph.elements.get(token.element_id)
    present = _find_present_job(token, element, jobs, model)
    found: list[Token] = []
    arrived = token.created_at or _EARLIEST
    for job in jobs:
        if job is present or not is_final(_end_state(job)):
            continue
        visit = _job_visit(job, model, _end_state(job), token.process_id)
        arrived = max(arrived, job.created_at or _EARLIEST)
        found.append(
            replace(
                visit,
                token_id=f"{token.token_id}@{job.key}",
                instance_id=token.instance_id,
                created_at=None if job.created_at is None else arrived,
            )
        )
    # A token is updated when it arrives; but also when it fails, or is suspended or cancelled.
    arrival = (token.updated_at or token.created_at) if token.state in {ACTIVE, WAITING, COMPLETED} else None
    if present is not None and not (token.live and token.can_move):
        arrival = None if present.created_at is None else max(arrived, present.created_at)
    elif first_child is not None and arrival is not None and element is not None and element.type in SUB_PROCESS_TYPES:
        arrival = min(arrival, max(first_child, token.created_at or first_child))  # it is updated after they begin
    context = {} if present is None else _job_context(present, token)
    if token.live and token.can_move:
        context = _wait_context(token, element, model, due, waiting_for) | context
    found.append(
        replace(
            token,
            created_at=arrival,
            parent_token_id=None,
            element_type=element.type if element else None,
            element_name=element.name if element else None,
            execution_context=Raw(msgspec.json.encode(context)) if context else NULL,
        )
    )
    return found


def _find_present_job(token: Token, element: Element | None, jobs: Sequence[Job], model: AtomdModel) -> Job | None:
    """Return the job of a token's present element: a job does not name its element."""
    if element is not None and not element.type.lower().endswith("task"):
        return None
    if not is_final(token.state):
        return next((job for job in reversed(jobs) if job.is_open), None)
    last = jobs[-1] if jobs else None
    return last if last is not None and model.element_of(last) is element is not None else None


def _end_state(job: Job) -> str:
    """Return the state in which a visit ended whose job is in the past. A thrown error interrupts the activity."""
    return CANCELLED if job.state == "ERROR_THROWN" else job.state


def _job_visit(job: Job, model: AtomdModel, state: str, process_id: str | None) -> Token:
    element = model.element_of(job)
    return Token(
        token_id=job.key,
        element_id=element.id if element else UNKNOWN_ELEMENT_ID,
        element_type=element.type if element else None,
        element_name=element.name if element else None,
        state=state,
        instance_id=job.instance_id,
        process_id=process_id,
        created_at=job.created_at,
        child_tokens=(),
        execution_context=Raw(msgspec.json.encode(_job_context(job, None))),
    )


def _job_context(job: Job, token: Token | None) -> dict[str, Any]:
    """Return the members of an execution context for a job; a DEFERRED one is held by no worker."""
    waits = job.is_open and job.state != FAILED and (token is None or token.can_move)
    members = {
        "job_key": job.key,
        "job_type": job.type,
        "worker_id": job.worker if job.state != "DEFERRED" else None,
        "retries_left": job.retries,
        "timeout_at": format_time(job.deadline),
        "error_message": job.error,
        "waiting_for": f"{'retry' if job.state == 'DEFERRED' else 'job'}:{job.key}" if waits else None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _wait_context(
    token: Token, element: Element | None, model: AtomdModel, due: Mapping[str, Timer], waiting_for: str | None
) -> dict[str, Any]:
    """Return what a live token waits for, as far as atomd, its timers and the model tell."""
    kind, _, name = (waiting_for or "").partition(":")
    if kind == "call_activity":
        return {"waiting_for": waiting_for, "called_instance_id": name}
    if (timer := due.get(token.element_id)) is not None:
        return {"waiting_for": f"timer:{timer.timer_id}", "due_at": format_time(timer.due_at)}
    if element is None:
        return {}
    if token.state == ACTIVE and element.type == "startEvent":  # atomd leaves a token there during a user task
        after = model.graph.flow_targets(element.id)
        return {"waiting_for": f"user_task:{after[0].id}"} if [one.type for one in after] == ["userTask"] else {}
    events = model.details[element.id].events if element.id in model.details else ()
    if len(events) == 1 and events[0].kind in {MESSAGE, SIGNAL} and events[0].name and token.state == WAITING:
        return {"waiting_for": f"{events[0].kind}:{events[0].name}"}
    return {"waiting_for": waiting_for} if waiting_for and kind in {MESSAGE, SIGNAL, TIMER} else {}


# --- links ------------------------------------------------------------------------------------------------


def _link(token: Token, stays: Mapping[str, list[Token]], model: AtomdModel) -> list[Token]:
    """Return the visits of a token with their predecessors and ends, as far as those are certain."""
    own = stays[token.token_id]
    linked = [_link_first(token, own[0], stays, model)]
    for visit in own[1:]:
        last = linked[-1]
        new = _link_visits(last, visit, model)
        if new.parent_token_id is not None and new.created_at is not None:  # it went on at once
            name = "completed_at" if last.state == COMPLETED else "cancelled_at"
            linked[-1] = replace(last, updated_at=new.created_at, **{name: new.created_at})
        linked.append(new)
    return linked


def _link_first(token: Token, visit: Token, stays: Mapping[str, list[Token]], model: AtomdModel) -> Token:
    """Return the first known visit of a token with its predecessor: a visit of the token that created it."""
    element = model.graph.elements.get(visit.element_id)
    if token.parent_token_id is None:
        start = model.start_event(None) if element is not None and element.parent is None else None
        if start == visit.element_id:
            return _add_context(visit, entered_by=EnteredBy.START)
        return _link_visits(start, visit, model)
    before = _find_creator(stays.get(token.parent_token_id, ()), token.created_at)
    if before is not None and element is not None and element.parent == before.element_id:
        return _add_context(replace(visit, parent_token_id=before.token_id), entered_by=EnteredBy.SCOPE)
    return _link_visits(before, visit, model)


def _link_visits(source: Token | str | None, visit: Token, model: AtomdModel) -> Token:
    linked = visit if source is None else link_visits(source, visit, model.graph)
    return _add_context(visit, entered_by=EnteredBy.UNKNOWN) if linked is visit else linked


def _add_context(visit: Token, **members: str) -> Token:
    context = decode_value(visit.execution_context) or {}
    return replace(visit, execution_context=Raw(msgspec.json.encode(context | members)))


def _find_creator(visits: Sequence[Token], moment: datetime | None) -> Token | None:
    """Return the visit during which a token created another one; None if that one is unknown."""
    present = visits[-1] if visits else None
    if present is None or moment is None or present.created_at is None or present.created_at > moment:
        return None  # a sub-process or a gateway has no job
    return present


def _add_children(visits: Sequence[Token]) -> list[Token]:
    children: dict[str, list[str]] = defaultdict(list)
    for visit in visits:
        if visit.parent_token_id is not None:
            children[visit.parent_token_id].append(visit.token_id)
    return [replace(visit, child_tokens=tuple(children[visit.token_id])) for visit in visits]
