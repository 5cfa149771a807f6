"""The processes to simulate, with everything that running them requires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokctl.bpmn.element_details import ElementDetails
from tokctl.bpmn.execution_details import ExecutionDetails, ExecutionModel, read_execution_model
from tokctl.bpmn.graph import ProcessGraph
from tokctl.errors import InputError
from tokctl.model.definitions import Definition, Element

_NO_DETAILS = ExecutionDetails()


@dataclass(frozen=True, slots=True)
class ProcessModel:
    """A process of a document, with everything that running it requires."""

    source: str
    definition: Definition
    graph: ProcessGraph
    execution: ExecutionModel

    @property
    def is_executable(self) -> bool:
        """Whether the process is not marked as not executable."""
        return self.definition.process_id not in self.execution.not_executable

    def details(self, element_id: str) -> ElementDetails:
        """Return the event definitions, and more, of an element."""
        return self.graph.details(element_id)

    def execution_details(self, element_id: str) -> ExecutionDetails:
        """Return the script, loop and called process of an element."""
        return self.execution.elements.get(element_id, _NO_DETAILS)


def read_process_models(definitions: Sequence[tuple[str, Definition]]) -> dict[str, ProcessModel]:
    """Return the models of definitions by process id, given with the names of their documents.

    Raises InputError: two processes have the same id.
    """
    models: dict[str, ProcessModel] = {}
    executions: dict[str, ExecutionModel] = {}
    for source, definition in definitions:
        xml = definition.xml or ""
        if xml not in executions:
            executions[xml] = read_execution_model(xml)
        if (other := models.get(definition.process_id)) is not None:
            raise InputError(f"{source}: the process id '{definition.process_id}' is already used in {other.source}.")
        models[definition.process_id] = ProcessModel(source, definition, ProcessGraph(definition), executions[xml])
    return models


def find_start_events(model: ProcessModel) -> list[Element]:
    """Return the start events of a process itself, those without an event definition first."""
    starts = [one for one in model.graph.elements.values() if one.type == "startEvent" and one.parent is None]
    return sorted(starts, key=lambda one: bool(model.details(one.id).events))
