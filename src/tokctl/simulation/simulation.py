"""A simulation: the models, built once, the scenario, and what the instances have in common."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import blake2b
from threading import Event

from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent

from tokctl.bpmn.element_details import MESSAGE, SIGNAL
from tokctl.errors import InputError
from tokctl.model.definitions import Definition, Element
from tokctl.recorder.ids import make_instance_id
from tokctl.recorder.lifecycle import Sink
from tokctl.recorder.spiff_model import SpiffModel
from tokctl.simulation.awaited_events import awaited_names
from tokctl.simulation.conversation import Conversation
from tokctl.simulation.limits import RunLimits
from tokctl.simulation.process_model import ProcessModel, find_start_events, read_process_models
from tokctl.simulation.report import Approximations, WaitingInstances
from tokctl.simulation.scenario import InstancePlan, Scenario, TaskPlan
from tokctl.simulation.spec_builder import BuiltModel, SpecBuilder
from tokctl.simulation.waiting import find_reasons

MAX_SIMULATED = timedelta(days=36_525)
"""The longest time that an instance runs if the scenario has no ``until``."""


@dataclass(frozen=True, slots=True)
class Models:
    """The documents to run, and those that have only processes that they call: definitions with their sources."""

    main: Sequence[tuple[str, Definition]]
    called: Sequence[tuple[str, Definition]] = ()
    all_processes: bool = False


class Simulation:
    """The models of a simulation and its scenario; ``run`` runs one instance, or one of each process together."""

    def __init__(
        self,
        models: Models,
        scenario: Scenario,
        sink: Sink,
        stop_requested: Event,
        *,
        limits: RunLimits,
        trust_scripts: bool,
    ) -> None:
        self.scenario = scenario
        self.sink = sink
        self.stop_requested = stop_requested
        self.limits = limits
        self.trust_scripts = trust_scripts
        self.approximations = Approximations()
        self.waiting = WaitingInstances()
        self.models = read_process_models([*models.main, *models.called])
        self.builder = SpecBuilder(self.models)
        self.is_collaboration = models.all_processes
        self.message_starts = self._find_message_starts() if models.all_processes else set()
        self.message_flows = self._find_message_flows() if models.all_processes else {}
        self.starts = self._choose_starts([one.process_id for _, one in models.main])
        for process_id, start in [*self.starts, *self.message_starts]:
            self.builder.build(process_id, start)
        self.built = self.builder.built
        used = {str(graph.process_id) for graph in self.built.graphs.values()}
        self.definitions = [one for _, one in (*models.main, *models.called) if one.process_id in used]
        self.not_executable = tuple(sorted(one for one in used if not self.models[one].is_executable))
        self.key = _simulation_key(scenario, self.starts[0][0], self.definitions)
        self.model = SpiffModel(self.definitions, self.built.graphs)
        self.unused = (*self._find_unused_trigger(), *_find_unused_parts(scenario, self.definitions, self.built))
        self._plans: dict[str, TaskPlan] = {}
        for definition in self.definitions:
            sink.put_definition(definition)

    def run(self, number: int, start: datetime, stop: datetime | None) -> Conversation:
        """Run the instances of one number until they end, have no scheduled event left, or the clock stops."""
        conversation = Conversation(self, number, start)
        conversation.until(stop or _add(start, MAX_SIMULATED))
        for run in conversation.runs:
            visits = Counter(token.element_id for token in run.recorder.lifecycle)
            for (process_id, element_id), notes in self.built.approximations.items():
                element = self.models[process_id].graph.elements[element_id]
                for note in notes if visits[element_id] else ():
                    self.approximations.add(element_id, element.type, note, visits[element_id])
            self.waiting.add(find_reasons(run))
        return conversation

    def plan(self, case: InstancePlan | None, element_id: str) -> TaskPlan:
        """Return the plan for the jobs of an element in this case."""
        plan = self._plans.get(element_id)
        if plan is None:
            plan = self._plans[element_id] = self.scenario.task(element_id)
        return plan if case is None else case.task(element_id).with_fallback(plan)

    @staticmethod
    def instance_id(name: str) -> str:
        """Return the id of an instance by its name, which is unique."""
        return make_instance_id(name)

    # --- what starts ---

    def _choose_starts(self, main: list[str]) -> list[tuple[str, str | None]]:
        wanted = self.scenario.process
        if wanted is not None and wanted not in self.models:
            raise InputError(f"The model has no process '{wanted}': it has {', '.join(sorted(self.models))}.")
        if self.is_collaboration:
            processes = [one for one in main if one not in {process for process, _ in self.message_starts}]
            processes = processes or main[:1]
        else:
            processes = [self._choose_process(main) if wanted is None else wanted]
        return [(process_id, self._choose_start(process_id)) for process_id in processes]

    def _choose_process(self, main: list[str]) -> str:
        called = {
            name.rpartition(":")[2]
            for model in self.models.values()
            for element_id in model.graph.call_activities
            if (name := model.execution_details(element_id).called_process)
        }
        candidates = [one for one in main if one not in called] or main
        runnable = [one for one in candidates if self.models[one].graph.elements]
        if len(runnable) > 1 and len(executable := [one for one in runnable if self.models[one].is_executable]) == 1:
            return executable[0]
        if len(runnable) == 1:
            return runnable[0]
        if not runnable:
            raise InputError(f"{self.models[main[0]].source}: no process has an element.")
        raise InputError(
            f"The model has several processes: {', '.join(sorted(runnable))}.",
            "Choose one with --process or in the scenario, or run all with --all-processes.",
        )

    def _choose_start(self, process_id: str) -> str | None:
        """Return the start event: that of the scenario's trigger, else the first without one, else the first."""
        model = self.models[process_id]
        starts = find_start_events(model)
        trigger = self.scenario.trigger
        if trigger is None:
            return starts[0].id if starts else None
        for start in starts:
            if trigger in _triggers(model, start):
                return start.id
        if self.is_collaboration:
            return starts[0].id if starts else None
        known = ", ".join(sorted({name for start in starts for name in _triggers(model, start)}))
        raise InputError(f"Process '{process_id}' has no start event '{trigger}': it has {known or 'none'}.")

    def _find_unused_trigger(self) -> tuple[str, ...]:
        """Return ``trigger`` if a collaboration has no such start event; one process alone cannot run then."""
        models = [self.models[process_id] for process_id, _ in self.starts]
        known = {name for model in models for start in find_start_events(model) for name in _triggers(model, start)}
        return () if self.scenario.trigger in {None, *known} else ("trigger",)

    def _find_message_starts(self) -> set[tuple[str, str]]:
        """Return the processes that only a message starts, which another process sends, with the start event."""
        sent = {target for model in self.models.values() for target in self._targets(model)}
        return {
            (process_id, starts[0].id)
            for process_id, model in self.models.items()
            if (starts := find_start_events(model)) and starts[0].id in sent and model.details(starts[0].id).events
        }

    def _targets(self, model: ProcessModel) -> set[str]:
        elements = {element_id for one in self.models.values() for element_id in one.graph.elements}
        return {flow.target for flow in model.execution.message_flows if flow.source in elements | set(self.models)}

    def _find_message_flows(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Return the elements that the message flows of an element lead to, with their processes."""
        owners = {
            element_id: process_id for process_id, model in self.models.items() for element_id in model.graph.elements
        }
        found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        flows = {flow.id: flow for model in self.models.values() for flow in model.execution.message_flows}
        for flow in flows.values():
            if flow.source in owners and flow.target in owners:
                found[owners[flow.source], flow.source].append((owners[flow.target], flow.target))
        return found


def _triggers(model: ProcessModel, start: Element) -> set[str]:
    events = model.details(start.id).events
    return {start.id, *(event.name for event in events if event.kind in {MESSAGE, SIGNAL} and event.name)}


def _find_unused_parts(scenario: Scenario, definitions: Sequence[Definition], built: BuiltModel) -> tuple[str, ...]:
    """Return the paths of tasks, flows and messages in a scenario that match nothing of the model."""
    elements = {element_id for definition in definitions for element_id in definition.elements}
    specs = [spec for process in built.specs.values() for spec in process.task_specs.values()]
    chosen = {flow.id for spec in specs if hasattr(spec, "flow_choice") for flow in spec.flow_choice.flows}
    awaited = {name for spec in specs if isinstance(spec, CatchingEvent) for name in awaited_names(spec)}
    repeated = {spec.element.id for spec in specs if getattr(spec, "loop", None) is not None}

    def unused(plan: InstancePlan) -> Iterator[str]:
        for name, task in plan.tasks.items():
            matched = {one for one in elements if one == name or fnmatchcase(one, name)}
            if name != "default" and not matched:
                yield f"tasks.{name}"
            elif name != "default" and task.instances is not None and not matched & repeated:
                yield f"tasks.{name}.instances"
        yield from (f"flows.{name}" for name in plan.flows if name not in chosen)
        yield from (f"messages.{name}" for name in plan.messages if name not in awaited)

    return tuple(dict.fromkeys(path for plan in (scenario, *scenario.cases.values()) for path in unused(plan)))


def _simulation_key(scenario: Scenario, process: str, definitions: Sequence[Definition]) -> str:
    """Return a key that distinguishes a simulation from those of another model, scenario or seed.

    A store that holds both would mix their tokens if the ids were the same.
    """
    digest = blake2b(scenario.fingerprint.encode(), digest_size=16)
    for text in sorted({definition.xml or "" for definition in definitions}):
        digest.update(text.encode())
    return f"{scenario.seed}/{process}/{digest.hexdigest()}"


def _add(time: datetime, span: timedelta) -> datetime:
    try:
        return time + span
    except OverflowError:
        return datetime.max.replace(tzinfo=time.tzinfo)
