"""Compensation: which activities a throwing event compensates, by which handlers, and how they run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from SpiffWorkflow.bpmn.specs.defaults import CallActivity, EndEvent
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.bpmn.element_details import CANCEL, COMPENSATION
from tokctl.model.definitions import Element
from tokctl.simulation import engine_specs as own
from tokctl.simulation.engine_specs import is_instance
from tokctl.simulation.scoped_events import CancelDefinition

if TYPE_CHECKING:
    from tokctl.simulation.element_specs import ElementSpecs
    from tokctl.simulation.process_model import ProcessModel


def find_handlers(model: ProcessModel, scope: str | None, activity_id: str | None) -> dict[str, Element]:
    """Return the compensation handlers that an event starts, by their activities.

    They are those of the process (None) or sub-process that it is in; for an event sub-process also those around it. A
    sub-process without a handler is compensated by what is in it. ``activity_id`` is the only activity to compensate.
    """
    wanted = None if activity_id is None else activity_id.rpartition(":")[2]
    elements = model.graph.elements
    scopes = {scope}
    around = scope
    while around is not None and model.details(around).event_sub_process:
        around = elements[around].parent
        scopes.add(around)
    handlers = {}
    for event_id, handler_id in model.execution.compensations.items():
        event, handler = elements.get(event_id), elements.get(handler_id)
        if event is not None and event.attached_to in elements and handler is not None:
            handlers[event.attached_to] = handler
    found = {}
    for one, handler in handlers.items():
        names, above = {one}, elements[one].parent
        while above is not None and above not in scopes and above not in handlers:
            names.add(above)
            above = elements[above].parent
        if above in scopes and (wanted is None or wanted in names):
            found[one] = handler
    return found


def completed_activities(thrown: Task, activity_ids: Collection[str]) -> Iterator[Task]:
    """Return the completed visits of some activities in what is compensated, in the order in which they were reached.

    That is the process or sub-process that ``thrown`` is in; from an event sub-process, also what is around it. Of an
    activity that is repeated, all instances are returned if the activity was completed as a whole.
    """
    workflow = thrown.workflow
    yield from _completed_in(workflow, activity_ids)
    while workflow.parent_task_id is not None:
        owner = workflow.top_workflow.get_task_from_id(workflow.parent_task_id)
        if not _is_event_sub_process(owner):
            return
        workflow = owner.workflow
        yield from _completed_in(workflow, activity_ids)


def _completed_in(workflow: Any, activity_ids: Collection[str]) -> Iterator[Task]:
    inner = workflow.top_workflow.subprocesses
    for task in list(workflow.tasks.values()):
        spec = task.task_spec
        bpmn_id = getattr(spec, "bpmn_id", None)
        if bpmn_id is None:
            if task.id in inner:  # what a scope with event sub-processes has beside them: not in the diagram
                yield from _completed_in(inner[task.id], activity_ids)
        elif (
            task.state != TaskState.COMPLETED
            or isinstance(spec, LoopTask)
            or _is_event_sub_process(task)
            or (is_instance(task) and task.parent.state != TaskState.COMPLETED)
        ):
            continue
        elif bpmn_id in activity_ids:
            yield task
        elif task.id in inner and not isinstance(spec, CallActivity):
            yield from _completed_in(inner[task.id], activity_ids)


def _is_event_sub_process(task: Task) -> bool:
    spec = task.task_spec
    element = getattr(spec, "element", None)
    return element is not None and spec.process_model.details(element.id).event_sub_process


def connect_compensation(specs: ElementSpecs, element: Element, scope: str | None, exit_spec: TaskSpec) -> TaskSpec:
    """Connect the handlers that a throwing compensation event starts, and return the last spec.

    ``scope`` is the sub-process that contains the element. An end event that cancels a transaction does so after the
    compensation.
    """
    if element.type not in {"intermediateThrowEvent", "endEvent"}:
        return exit_spec
    thrown = [event for event in specs.model.details(element.id).events if event.kind in {COMPENSATION, CANCEL}]
    is_cancelled = any(event.kind == CANCEL for event in thrown)
    if is_cancelled:
        exit_spec = _follow(exit_spec, own.WithdrawOthers(specs.spec, specs.builder.new_name()))
    for event in thrown:
        if handlers := find_handlers(specs.model, scope, event.activity):
            exit_spec = _follow(exit_spec, own.ConditionalSteps(specs.spec, specs.builder.new_name()))
            exit_spec = _start_handlers(specs, exit_spec, handlers)
    if is_cancelled:
        cancel = EndEvent(specs.spec, specs.builder.new_name(), event_definition=CancelDefinition())
        specs.label(cancel, element, is_in_diagram=False)
        exit_spec = _follow(exit_spec, cancel)
    return exit_spec


def _start_handlers(specs: ElementSpecs, choice: TaskSpec, handlers: dict[str, Element]) -> TaskSpec:
    """Connect handlers, by their activities, to the choice of the next one; return what follows the last."""
    choice.bpmn_id = None
    for activity_id, handler in handlers.items():
        spec = specs.create(handler)
        spec.is_detour = True  # what follows comes from the throwing event
        choice.connect_if(own.IsCompensatedNext(activity_id, handlers), spec)
        back = _follow(spec, own.LoopingStep(specs.spec, specs.builder.new_name()))
        back.connect(choice)
    after = own.HiddenStep(specs.spec, specs.builder.new_name())
    choice.connect(after)
    return after


def _follow(before: TaskSpec, after: TaskSpec) -> TaskSpec:
    before.connect(after)
    return after
