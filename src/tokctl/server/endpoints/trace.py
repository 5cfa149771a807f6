"""The trace of an instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokctl.process.query import EVERYTHING, Order
from tokctl.process.trace import event_document, head, tail, trace
from tokctl.server import parameters as par
from tokctl.server.endpoints.common import array, encode, found, instance_tag, is_small_instance, members
from tokctl.server.routes import PREFIX, Endpoint, Question
from tokctl.store.base import Store


def _trace(store: Store, question: Question) -> Iterator[bytes]:
    values = question.values
    variables = values["include_variables"]
    status = found(store, question.id)
    process = status.instance.process_id
    made = trace(
        status,
        store.tokens(question.id, EVERYTHING, Order("created")) if variables else store.visits(question.id, flows=True),
        question.now,
        detailed=values["format"] == "detailed",
        variables=variables,
        since=values["start_time"],
        until=values["end_time"],
        definition=store.definition(process, status.instance.version) if process else None,
    )
    yield b"{" + members(head(made))
    if made.detailed:
        yield b',"execution_timeline":'
        yield from array(map(event_document, made.timeline.events(made.part)))
    yield from _members(tail(made))
    yield b"}"


def _members(fields: dict[str, Any], sign: bytes = b",") -> Iterator[bytes]:
    """Members of an object behind a sign; an iterator among them, or theirs, is written as it is read."""
    for name, value in fields.items():
        yield sign + encode(name) + b":"
        if isinstance(value, Iterator):
            yield from array(value)
        elif isinstance(value, dict) and any(isinstance(inner, Iterator) for inner in value.values()):
            yield from _members(value, b"{")
            yield b"}"
        else:
            yield encode(value)
        sign = b","


def _tag(store: Store, question: Question) -> str | None:
    """The instance's version; none while it goes on, for what it has taken until now is told."""
    tag = instance_tag(store, question.id)
    status = found(store, question.id)
    return None if status.ended_at is None or status.live_tokens else f"{tag}.{store.revisions().process}"


TRACE = Endpoint(
    path=f"{PREFIX}/processes/{{instance_id}}/tokens/trace",
    name="traceTokens",
    text="All that happened to the tokens of a process instance, and what it comes to. The period bounds the timeline.",
    schema="Trace",
    permissions=("process",),
    parameters=par.table(
        par.choice("format", "detailed, or summary: without the timeline, the paths and the tree.",
                   ("detailed", "summary")),
        par.flag("include_variables", "Whether to tell variables.", default=False),
        par.moment("start_time", "Only events at or after then."),
        par.moment("end_time", "Only events before then."),
    ),
    faults=(404,),
    tag=_tag,
    is_small=lambda store, question: is_small_instance(store, question.id),
    pieces=_trace,
)  # fmt: skip
