"""SpiffWorkflow on a virtual clock: a parser, jobs and a workflow that do not use the system time.

Nothing here sleeps or reads the system time. A workflow has a ``now``, which its driver sets and its timers use. Every
kind of task is a job: it is READY until the driver completes it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from types import CodeType
from typing import Any
from uuid import UUID

from lxml import etree
from SpiffWorkflow.bpmn.parser import event_parsers
from SpiffWorkflow.bpmn.parser.BpmnParser import BpmnParser
from SpiffWorkflow.bpmn.parser.task_parsers import ConditionalGatewayParser, ScriptTaskParser
from SpiffWorkflow.bpmn.parser.TaskParser import TaskParser
from SpiffWorkflow.bpmn.parser.util import full_tag
from SpiffWorkflow.bpmn.parser.ValidationException import ValidationException
from SpiffWorkflow.bpmn.script_engine import PythonScriptEngine, TaskDataEnvironment
from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.defaults import (
    AdHocSubprocess,
    BoundaryEvent,
    EndEvent,
    EventBasedGateway,
    ExclusiveGateway,
    InclusiveGateway,
    IntermediateCatchEvent,
    IntermediateThrowEvent,
    NoneTask,
    ScriptTask,
    SendTask,
    StartEvent,
)
from SpiffWorkflow.bpmn.specs.event_definitions.timer import TimerEventDefinition
from SpiffWorkflow.bpmn.util.subworkflow import BpmnSubWorkflow
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.exceptions import SpiffWorkflowException
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.bpmn.parser import MODEL_NAMESPACE
from tokctl.errors import InputError
from tokctl.simulation.expressions import timer_to_python, to_python
from tokctl.simulation.timers import CycleTimer, DueTimer

# --- jobs -------------------------------------------------------------------------------------------


class _ManualTaskMixin:
    """A task that the driver completes: SpiffWorkflow leaves it READY."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.manual = True


class TaskJob(_ManualTaskMixin, NoneTask):  # type: ignore[misc]
    """A task done outside: by a person, a service, a rule engine."""


class ScriptJob(_ManualTaskMixin, ScriptTask):  # type: ignore[misc]
    """A script, which runs when its job is done."""


class SendJob(_ManualTaskMixin, SendTask):  # type: ignore[misc]
    """A send task, which sends when its job is done."""


class DefiniteBoundaryEvent(BoundaryEvent):  # type: ignore[misc]
    """A boundary event that any element may follow.

    SpiffWorkflow's own class leaves the next task predicted, so that a multi-instance activity cannot start there.
    """

    def _run_hook(self, my_task: Task) -> Any:
        for child in my_task.children:
            if child.has_state(TaskState.PREDICTED_MASK):
                child._set_state(TaskState.FUTURE)  # noqa: SLF001 - as gateways do for what they choose
                child.task_spec._predict(child, mask=TaskState.FUTURE | TaskState.PREDICTED_MASK)  # noqa: SLF001
        return super()._run_hook(my_task)


# --- the parser -------------------------------------------------------------------------------------


class _EventParserMixin:
    """Reads timers as timers of the virtual clock, and rejects events that would be ignored."""

    def get_event_definition(self, xpaths: list[str]) -> Any:
        node = self.node  # type: ignore[attr-defined]
        supported = {path.rpartition(":")[2] for path in xpaths}
        for child in node:
            kind = etree.QName(child).localname if isinstance(child.tag, str) else ""
            if kind.endswith("EventDefinition") and kind not in supported:
                self.raise_validation_exception(f"its {kind} is not supported")  # type: ignore[attr-defined]
        return super().get_event_definition(xpaths)  # type: ignore[misc]

    def parse_timer_event(self, event: Any) -> TimerEventDefinition:
        node = self.node  # type: ignore[attr-defined]
        for tag, kind in (("timeDate", DueTimer), ("timeDuration", DueTimer), ("timeCycle", CycleTimer)):
            value = event.find(full_tag(tag))
            if value is not None and (value.text or "").strip():
                return kind(node.get("id"), timer_to_python(value.text))
        self.raise_validation_exception("its timer has no date, duration or cycle")  # type: ignore[attr-defined]
        raise AssertionError


def _event(parser: type, spec: type) -> tuple[type, type]:
    return type(parser.__name__, (_EventParserMixin, parser), {}), spec


class _AdHocParser(TaskParser):  # type: ignore[misc]
    """SpiffWorkflow reads ad hoc sub-processes, but fails as soon as one starts."""

    def create_task(self) -> Any:
        self.raise_validation_exception("no support implemented")


class _GatewayParser(ConditionalGatewayParser):  # type: ignore[misc]
    def parse_condition(self, sequence_flow: Any) -> str | None:
        condition = super().parse_condition(sequence_flow)
        return to_python(condition) if condition and condition.strip() else None


class _Parser(BpmnParser):  # type: ignore[misc]
    OVERRIDE_PARSER_CLASSES = {  # noqa: RUF012 - as the base class declares it
        **{
            full_tag(name): (TaskParser, TaskJob)
            for name in ("task", "userTask", "manualTask", "serviceTask", "businessRuleTask")
        },
        full_tag("scriptTask"): (ScriptTaskParser, ScriptJob),
        full_tag("sendTask"): (event_parsers.SendTaskParser, SendJob),
        full_tag("startEvent"): _event(event_parsers.StartEventParser, StartEvent),
        full_tag("endEvent"): _event(event_parsers.EndEventParser, EndEvent),
        full_tag("intermediateCatchEvent"): _event(event_parsers.IntermediateCatchEventParser, IntermediateCatchEvent),
        full_tag("intermediateThrowEvent"): _event(event_parsers.IntermediateThrowEventParser, IntermediateThrowEvent),
        full_tag("boundaryEvent"): _event(event_parsers.BoundaryEventParser, DefiniteBoundaryEvent),
        full_tag("eventBasedGateway"): _event(event_parsers.EventBasedGatewayParser, EventBasedGateway),
        full_tag("adHocSubProcess"): (_AdHocParser, AdHocSubprocess),
        full_tag("exclusiveGateway"): (_GatewayParser, ExclusiveGateway),
        full_tag("inclusiveGateway"): (_GatewayParser, InclusiveGateway),
    }


def parse_specs(
    texts: Sequence[tuple[str, str]], process_id: str | None
) -> tuple[BpmnProcessSpec, dict[str, BpmnProcessSpec]]:
    """Create SpiffWorkflow's specs of a process, and of all processes that it calls, from (source, XML) pairs.

    Without a ``process_id``, it is the only process that no other calls. Raises ``InputError``, naming the element or
    construct, that SpiffWorkflow cannot run. The XML must have been read by ``bpmn.parser`` before, which rejects
    unsafe XML.
    """
    parser = _Parser()
    try:
        for source, text in texts:
            parser.add_bpmn_xml(etree.fromstring(text.encode(), _xml_parser()), source)
        process_id = _choose_process(parser, process_id)
        return parser.get_spec(process_id), parser.get_subprocess_specs(process_id)
    except ValidationException as error:
        raise InputError(_find_missing_call(parser, texts) or _format_parse_error(error)) from error
    except etree.XMLSyntaxError as error:
        raise InputError(f"{texts[0][0]}: {error}.") from error
    except SpiffWorkflowException as error:
        raise InputError(f"{texts[0][0]}: SpiffWorkflow cannot run this model: {error}") from error


def _choose_process(parser: BpmnParser, wanted: str | None) -> str:
    processes = parser.get_process_ids()
    if wanted is None:
        called = parser.get_process_dependencies()
        callers = [process for process in processes if process not in called] or processes
        if len(callers) == 1:
            return str(callers[0])
        raise InputError(
            f"The model has several processes: {', '.join(sorted(callers))}.",
            "Choose one with --process or in the scenario.",
        )
    if wanted not in processes:
        raise InputError(f"The model has no process '{wanted}': it has {', '.join(sorted(processes))}.")
    return wanted


def _find_missing_call(parser: BpmnParser, texts: Sequence[tuple[str, str]]) -> str | None:
    """Return an error for a call activity whose process is in none of the files."""
    for source, text in texts:
        for node in etree.fromstring(text.encode(), _xml_parser()).iter(full_tag("callActivity")):
            called = node.get("calledElement")
            if called and called not in parser.process_parsers:
                return (
                    f"{source}: callActivity '{node.get('id')}' calls the process '{called}',"
                    " which is in none of the files."
                )
    return None


def _xml_parser() -> Any:
    # lxml rejects text with an encoding declaration, and would trust a wrong one in bytes.
    return etree.XMLParser(encoding="utf-8", resolve_entities=False)


def _format_parse_error(error: ValidationException) -> str:
    what = str(error).rstrip(". ").removesuffix(" for tasks of type")
    tag = error.tag.replace("bpmn:", "").replace(f"{{{MODEL_NAMESPACE}}}", "")
    where = f"{tag} '{error.id}'" if error.id else tag
    place = f"{error.file_name}: " if error.file_name else ""
    if "no support implemented" in what:
        return f"{place}SpiffWorkflow cannot run {where}."
    return f"{place}SpiffWorkflow cannot run {where}: {what}." if where else f"{place}{what}."


# --- running ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _compile_expression(expression: str) -> CodeType:
    return compile(ast.parse(expression.strip(), mode="eval"), "<expression>", "eval")


class _CachingEnvironment(TaskDataEnvironment):  # type: ignore[misc]
    """Evaluates like SpiffWorkflow's own environment, but compiles each expression only once."""

    def evaluate(self, expression: str, context: dict[str, Any], external_context: Any = None) -> Any:
        names = {**self.globals, **(external_context or {}), **context}
        return eval(_compile_expression(expression), names)  # noqa: S307 - running the model's code is the point


class VirtualEngine(PythonScriptEngine):  # type: ignore[misc]
    """Runs a model's scripts and conditions; ``describe`` returns the message of an error."""

    def __init__(self, describe: Callable[[Task, str, Exception], str]) -> None:
        super().__init__(_CachingEnvironment())
        self.describe = describe

    def evaluate(self, task: Task, expression: str, external_context: Any = None) -> Any:
        """Evaluate an expression over a task's data; raises ``InputError`` if that fails."""
        try:
            return self.environment.evaluate(expression, task.data, external_context)
        except Exception as error:
            raise InputError(self.describe(task, expression, error)) from error

    def execute(self, task: Task, script: str, external_context: Any = None) -> bool:
        """Run a script over a task's data; raises ``InputError`` if that fails."""
        try:
            return bool(self.environment.execute(script, task.data, external_context or {}))
        except Exception as error:
            raise InputError(self.describe(task, "the script", error)) from error


class _WaitingTasksMixin:
    """A workflow that has a list of its waiting tasks, so that it does not search all tasks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.waiting: dict[UUID, Task] = {}
        super().__init__(*args, **kwargs)

    def update_waiting_tasks(self) -> None:
        """Update the waiting tasks after another task was completed."""
        for task in list(self.waiting.values()):
            if task.state == TaskState.WAITING:
                task.task_spec._update(task)  # noqa: SLF001 - as the method does that this replaces

    def get_tasks(self, first_task: Task | None = None, **kwargs: Any) -> list[Task]:
        """Return tasks as the base class does; those of one spec without walking the whole tree."""
        if set(kwargs) != {"spec_name"}:
            return super().get_tasks(first_task, **kwargs)  # type: ignore[misc, no-any-return]
        found = [task for task in self.tasks.values() if task.task_spec.name == kwargs["spec_name"]]  # type: ignore[attr-defined]
        if first_task is not None:
            found = [task for task in found if task is first_task or task.is_descendant_of(first_task)]
        return found


class VirtualSubWorkflow(_WaitingTasksMixin, BpmnSubWorkflow):  # type: ignore[misc]
    """A sub-process or a called process; its clock is that of the workflow that it runs in."""


class VirtualWorkflow(_WaitingTasksMixin, BpmnWorkflow):  # type: ignore[misc]
    """A workflow with a virtual clock: ``now`` is the current time of its timers."""

    def __init__(
        self, spec: BpmnProcessSpec, specs: dict[str, BpmnProcessSpec], engine: VirtualEngine, now: datetime
    ) -> None:
        self.now = now
        super().__init__(spec, specs, script_engine=engine)

    def create_subprocess(self, my_task: Task, spec_name: str) -> VirtualSubWorkflow:
        """Create the workflow that runs inside a task."""
        inner = VirtualSubWorkflow(self.subprocess_specs[spec_name], parent_task_id=my_task.id, top_workflow=self)
        self.subprocesses[my_task.id] = inner
        return inner
