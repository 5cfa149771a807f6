"""Process instances: a list of them, and one with where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokctl.process.answers import status_answer
from tokctl.process.model import COMPLETED, Definition, Token, format_time
from tokctl.process.query import INSTANCE_ORDERS, RECORDED, InstanceFilter, Order, TokenFilter
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import summary_document
from tokctl.server import parameters as par
from tokctl.server.endpoints.common import array, encode, found, instance_tag, is_small_instance, members, store_tag
from tokctl.server.refusals import invalid
from tokctl.server.routes import PREFIX, Endpoint, Question
from tokctl.store.base import Store

MOST = 1000
SMALL = 20
ACTIVITIES = 1000  # that are told of each kind
ACTIVITY_TYPES = ("task", "subProcess", "adHocSubProcess", "transaction", "callActivity")
DONE = TokenFilter(states=(COMPLETED,), types=ACTIVITY_TYPES)


# --- one ------------------------------------------------------------------------------------------


def _one(store: Store, question: Question) -> Iterator[bytes]:
    status = found(store, question.id)
    live = list(store.tokens(question.id, TokenFilter(live=True), Order("created"), limit=ACTIVITIES))
    done = list(store.tokens(question.id, DONE, Order("finished", descending=True), limit=ACTIVITIES))
    finished = store.count_tokens(question.id, DONE)
    elapsed = status.lasted(question.now)
    document = status_answer(status)
    document["current_activity"] = live[0].element_id if live else None
    document["current_activities"] = [_activity(token) for token in live]
    document["completed_activities"] = [
        _activity(token) | {"completed_at": format_time(token.finished_at)} for token in reversed(done)
    ]
    document["metrics"] = {
        "elapsed_time_seconds": None if elapsed is None else elapsed.total_seconds(),
        "completed_activities_count": finished,
        "active_activities_count": status.live_tokens,
        "progress_percent": _progress(status, done, finished, _definition(store, status)),
    }
    document["summary"] = summary_document(store.summary(question.id))
    yield encode(document)


def _activity(token: Token) -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "element_id": token.element_id,
        "element_name": token.element_name,
        "state": token.state,
    }


def _definition(store: Store, status: InstanceStatus) -> Definition | None:
    process = status.instance.process_id
    return None if process is None else store.definition(process, status.instance.version)


def _progress(status: InstanceStatus, done: list[Token], finished: int, definition: Definition | None) -> float | None:
    """How many of the model's activities have been completed, in percent; None where nobody can know."""
    if status.status == COMPLETED:
        return 100.0
    if definition is None or finished > len(done):
        return None
    activities = {
        element.id
        for element in definition.elements.values()
        if element.type in ACTIVITY_TYPES or element.type.endswith("Task")
    }
    completed = {token.element_id for token in done} & activities
    return round(100 * len(completed) / len(activities), 1) if activities else None


def _tag_of_one(store: Store, question: Question) -> str | None:
    """The instance's version; none while it goes on, for how long it has lasted is told, too."""
    tag = instance_tag(store, question.id)
    return f"{tag}.{store.revisions().process}" if found(store, question.id).ended_at is not None else None


ONE = Endpoint(
    path=f"{PREFIX}/processes/{{instance_id}}",
    name="getProcessInstance",
    text="A process instance: how it stands, its live tokens, the activities that it completed, its totals.",
    schema="InstanceDetail",
    permissions=("process",),
    faults=(404,),
    tag=_tag_of_one,
    is_small=lambda store, question: is_small_instance(store, question.id),
    pieces=_one,
)


# --- several ----------------------------------------------------------------------------------------

_EXCLUSIVE = ("status", "process", "version", "since", "until", "live", "open", "sort", "offset")


def _tag_of_list(store: Store, question: Question) -> str:
    names = question.given.split(", ")
    if "instance" in names and (others := [name for name in names if name in _EXCLUSIVE]):
        raise invalid(others[0], f"'instance' and '{others[0]}' exclude each other.")
    return store_tag(store)


def _list(store: Store, question: Question) -> Iterator[bytes]:
    values = question.values
    limit, offset = values["limit"], values["offset"]
    total: int | None
    statuses: Iterator[InstanceStatus]
    if (prefix := values["instance"]) is not None:
        ids = store.instance_ids(prefix, limit + 1)
        more = len(ids) > limit
        statuses = map(store.instance, ids[:limit])
        total = None if more else len(ids)
    else:
        where = InstanceFilter(
            statuses=values["status"],
            processes=values["process"],
            version=values["version"],
            since=values["since"],
            until=values["until"],
            live=values["live"],
            open=values["open"],
        )
        statuses = store.instances(where, values["sort"], limit=limit, offset=offset)
        total = store.count_instances(where)
        more = offset + limit < total
    yield b'{"instances":'
    yield from array(map(status_answer, statuses))
    tail = {"total_count": total, "has_more": more, "limit": limit, "offset": offset}
    yield b"," + members(tail) + b"}"


LIST = Endpoint(
    path=f"{PREFIX}/processes",
    name="listProcessInstances",
    text="Process instances, the newest first unless told. With 'instance' those whose ids begin so, by id; how many "
    "these are is told where no more follow.",
    schema="InstanceList",
    permissions=("process",),
    parameters=par.table(
        par.states("status", "Only instances with one of these statuses."),
        par.texts("process", "Only processes whose id fits one of these patterns (* ? [a-z])."),
        par.number("version", "Only this version of the processes.", least=-(1 << 53) + 1),
        par.moment("since", "Only what was updated since then."),
        par.moment("until", "Only what started before then."),
        par.flag("live", "Only instances that have a live token.", default=False),
        par.flag("open", "Only instances that have not come to their end, or have a live token.", default=False),
        par.order("sort", "What to sort by; '-' in front for the reverse. 'recorded' is the order in which they came "
                  "to be known.", (*INSTANCE_ORDERS, RECORDED), "-started"),
        par.number("limit", "At most so many instances.", least=1, most=MOST, default=100),
        par.number("offset", "Leave out so many of the first.", default=0),
        par.text("instance", "How the instances' ids begin, all where it is empty; without other filters.", least=0),
    ),
    tag=_tag_of_list,
    is_small=lambda _, question: question.values["instance"] is not None and question.values["limit"] <= SMALL,
    pieces=_list,
)  # fmt: skip
