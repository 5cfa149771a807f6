"""The trace of an instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokctl.analysis.encoding.trace import encode_event, encode_trace_head, encode_trace_tail
from tokctl.analysis.trace.report import build_trace
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.server import parameters as par
from tokctl.server.endpoint import API_PREFIX, Endpoint, Query, StoreResponse
from tokctl.server.endpoints.common import (
    encode,
    encode_array,
    encode_members,
    get_definition,
    get_instance,
    is_small_instance,
    read_instance_tag,
)
from tokctl.store.protocol import Store


def _read_trace(store: Store, query: Query) -> Iterator[bytes]:
    values = query.values
    variables = values["include_variables"]
    status = get_instance(store, query.id)
    made = build_trace(
        status,
        store.tokens(query.id, ALL_TOKENS, SortOrder("created")) if variables else store.visits(query.id, flows=True),
        query.now,
        detailed=values["format"] == "detailed",
        variables=variables,
        since=values["start_time"],
        until=values["end_time"],
        definition=get_definition(store, status),
    )
    yield b"{" + encode_members(encode_trace_head(made))
    if made.detailed:
        yield b',"execution_timeline":'
        yield from encode_array(map(encode_event, made.timeline.events(made.part)))
    yield from _encode_members(encode_trace_tail(made))
    yield b"}"


def _encode_members(fields: dict[str, Any], sign: bytes = b",") -> Iterator[bytes]:
    """Yield the members of an object after a separator; iterators are encoded as they are read."""
    for name, value in fields.items():
        yield sign + encode(name) + b":"
        if isinstance(value, Iterator):
            yield from encode_array(value)
        elif isinstance(value, dict) and any(isinstance(inner, Iterator) for inner in value.values()):
            yield from _encode_members(value, b"{")
            yield b"}"
        else:
            yield encode(value)
        sign = b","


def _read_tag(store: Store, query: Query) -> str | None:
    """Return the instance's version; None while it runs, because its durations change."""
    tag = read_instance_tag(store, query.id)
    status = get_instance(store, query.id)
    return None if status.ended_at is None or status.live_tokens else f"{tag}.{store.revisions().process}"


TRACE = Endpoint(
    path=f"{API_PREFIX}/processes/{{instance_id}}/tokens/trace",
    name="traceTokens",
    text="Get the events of the tokens of a process instance, and their analysis. The period limits the timeline.",
    schema="Trace",
    permissions=("process",),
    parameters=par.table(
        par.choice("format", "detailed, or summary: without timeline, paths and tree.", ("detailed", "summary")),
        par.flag("include_variables", "Include variables.", default=False),
        par.moment("start_time", "Only events at or after this time."),
        par.moment("end_time", "Only events before this time."),
    ),
    errors=(404,),
    handler=StoreResponse(
        tag=_read_tag,
        is_small=is_small_instance,
        pieces=_read_trace,
    ),
)
