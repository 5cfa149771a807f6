"""Process models, and how long their elements usually take."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.server import parameters as par
from tokctl.server.endpoints.common import array, encode, store_tag
from tokctl.server.refusals import Refusal
from tokctl.server.routes import PREFIX, Endpoint, Question
from tokctl.store.base import Store

MOST_INSTANCES = 1000


def _tag(store: Store, question: Question) -> str:
    if store.definition(question.id, question.values["version"]) is None:
        raise Refusal(404, "DEFINITION_NOT_FOUND", "There is no such process model.",
                      {"process_id": question.id, "version": question.values["version"]})  # fmt: skip
    return store_tag(store)


DEFINITION = Endpoint(
    path=f"{PREFIX}/bpmn/processes/{{process_id}}",
    name="getDefinition",
    text="A process model with its elements and sequence flows, the newest version unless one is named.",
    schema="Definition",
    permissions=("process", "bpmn"),
    parameters=par.table(par.number("version", "The version of the model.", least=-(1 << 53) + 1)),
    faults=(404,),
    tag=_tag,
    pieces=lambda store, question: iter((encode(store.definition(question.id, question.values["version"])),)),
)


def _durations(store: Store, question: Question) -> Iterator[bytes]:
    values = question.values
    yield b'{"durations":'
    yield from array(store.visit_durations(question.id, values["element"] or None, values["instances"]))
    yield b"}"


DURATIONS = Endpoint(
    path=f"{PREFIX}/bpmn/processes/{{process_id}}/durations",
    name="listDurations",
    text="How long completed visits of elements took: [instance id, element id, ms] of each, in the process "
    "instances that came to be known last.",
    schema="Durations",
    permissions=("process",),
    parameters=par.table(
        par.texts("element", "Only these elements, by id."),
        par.number("instances", "How many instances to look at.", least=1, most=MOST_INSTANCES,
                   default=MOST_INSTANCES),
    ),
    tag=lambda store, _: store_tag(store),
    is_small=lambda *_: False,
    pieces=_durations,
)  # fmt: skip
