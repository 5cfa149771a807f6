"""Process models, and durations of their elements."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.server import parameters as par
from tokctl.server.endpoint import API_PREFIX, Endpoint, Query, StoreResponse
from tokctl.server.endpoints.common import encode, encode_array, read_store_tag
from tokctl.server.http_errors import HTTPError
from tokctl.store.protocol import Store

MAX_INSTANCES = 1000


def _tag(store: Store, query: Query) -> str:
    if store.definition(query.id, query.values["version"]) is None:
        raise HTTPError(
            404,
            "DEFINITION_NOT_FOUND",
            "Process model not found.",
            {"process_id": query.id, "version": query.values["version"]},
        )
    return read_store_tag(store, query)


DEFINITION = Endpoint(
    path=f"{API_PREFIX}/bpmn/processes/{{process_id}}",
    name="getDefinition",
    text="Get a process model with its elements and sequence flows. By default it is the newest version.",
    schema="Definition",
    permissions=("process", "bpmn"),
    parameters=par.table(par.number("version", "The version of the model.", minimum=-(1 << 53) + 1)),
    errors=(404,),
    handler=StoreResponse(
        tag=_tag,
        pieces=lambda store, query: iter((encode(store.definition(query.id, query.values["version"])),)),
    ),
)


def _read_durations(store: Store, query: Query) -> Iterator[bytes]:
    values = query.values
    yield b'{"durations":'
    yield from encode_array(store.visit_durations(query.id, values["element"] or None, values["instances"]))
    yield b"}"


DURATIONS = Endpoint(
    path=f"{API_PREFIX}/bpmn/processes/{{process_id}}/durations",
    name="listDurations",
    text="List durations of completed visits of elements. Each is [instance id, element id, ms]; they come from the "
    "process instances recorded last.",
    schema="Durations",
    permissions=("process", "bpmn"),
    parameters=par.table(
        par.texts("element", "Only elements with these ids."),
        par.number(
            "instances", "Maximum number of instances to read.", minimum=1, maximum=MAX_INSTANCES, default=MAX_INSTANCES
        ),
    ),
    handler=StoreResponse(
        tag=read_store_tag,
        is_small=lambda *_: False,
        pieces=_read_durations,
    ),
)
