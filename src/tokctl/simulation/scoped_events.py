"""Errors, escalations and cancellations: events that only activities around the throwing element catch.

SpiffWorkflow lets every boundary event beside those activities catch them, and all at once.
"""

from __future__ import annotations

from copy import deepcopy

from SpiffWorkflow.bpmn.specs.defaults import TransactionSubprocess
from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import ErrorEventDefinition, EscalationEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.simple import CancelEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
from SpiffWorkflow.bpmn.util.event import BpmnEvent
from SpiffWorkflow.task import Task

from tokctl.simulation.engine_specs import is_instance


class _ScopedMixin:
    """An event definition that throws to the innermost activity around that catches it."""

    def throw(self, my_task: Task) -> None:
        """Throw the event; if nothing catches it, it is in ``bpmn_events`` of the workflow."""
        event = BpmnEvent(self, payload=deepcopy(my_task.data))
        activity = _activity_around(my_task)
        if activity is None or not throw_from(activity, event):
            my_task.workflow.top_workflow.bpmn_events.append(event)


class ErrorDefinition(_ScopedMixin, ErrorEventDefinition):  # type: ignore[misc]
    """An error, by its code."""


class EscalationDefinition(_ScopedMixin, EscalationEventDefinition):  # type: ignore[misc]
    """An escalation, by its code."""


class CancelDefinition(_ScopedMixin, CancelEventDefinition):  # type: ignore[misc]
    """The cancellation of a transaction."""


def throw_from(activity: Task, event: BpmnEvent) -> bool:
    """Throw an event out of an activity: to its boundary events, else to those of the activities around it.

    Returns False if none catches it.
    """
    inner: Task | None = activity
    while inner is not None:
        catcher = _find_catcher(inner, event)
        if catcher is not None:
            catcher.task_spec.catch(catcher, event)
            catcher.task_spec._update(catcher)  # noqa: SLF001 - what the engine itself does with its events
            return True
        if isinstance(event.event_definition, CancelDefinition) and isinstance(inner.task_spec, TransactionSubprocess):
            return False
        inner = _activity_around(inner)
    return False


def _activity_around(task: Task) -> Task | None:
    owner = task.workflow.parent_task_id
    return None if owner is None else task.workflow.top_workflow.get_task_from_id(owner)


def _find_catcher(activity: Task, event: BpmnEvent) -> Task | None:
    """Return the boundary event of an activity that catches an event; one for its code precedes one for any code."""
    if is_instance(activity):  # the boundary events are those of all instances
        activity = activity.parent
    beside = [task for task in activity.parent.children if isinstance(task.task_spec, BoundaryEvent)]
    catching = [task for task in beside if task.task_spec.catches(task, event)]
    return min(catching, key=lambda task: getattr(task.task_spec.event_definition, "code", None) is None, default=None)
