"""Scenarios of simulated processes, read from YAML.

::

    process: order              # which process, if the model has several
    seed: 7                     # the same seed, scenario and model give the same tokens, ids included (default 1)
    start: 2025-01-11T10:00:00Z # when the first instance starts (default: set by the caller)
    until: 2h                   # the clock stops this long after the start (default: when all instances are done)

    instances:                  # or a plain number
      count: 1000               # default 1
      rate: 10/min              # 2/s, 10/min, 30/h (default: all start at the same time)
      arrival: poisson          # or fixed (default)

    variables:                  # initial variables of an instance
      currency: EUR                              # a constant, any JSON
      method: {choice: {credit: 7, invoice: 3}}  # with weights, or a list without
      amount: {range: [10.00, 500.00]}           # integers give integers
      orderId: {sequence: "ORD-{:05d}"}          # the instance number; a list is repeated in order

    tasks:                      # by element id, by glob, and `default` for every task
      default:
        takes: 1s
        worker: worker-01
      "charge-*":
        takes: {lognormal: {median: 2s, sigma: 0.6}}
        fails: 20%              # each attempt, with this probability; {times: 2}: the first two
        retries: {max: 3, backoff: 30s}
        timeout: 2m             # of each attempt: timeout_at in the context
      ship:
        takes: {uniform: [5m, 2h]}
        hangs: 1%               # never ends; true: always
        worker: [north, south]  # one of them at random
        sets: {carrier: {choice: [dhl, ups]}}     # variables that the task sets, over those of its script
      check:
        throws: {error: E-STOCK, probability: 5%} # a BPMN error, for a boundary event
      pack:
        instances: {range: [1, 5]}                # of a multi-instance activity or loop (default: as the model says)

    flows:                      # which sequence flows are taken, by id (default: as their conditions say)
      flow_3: 70%               # this share of the visits; flows that are not named share what is missing from 100%
      flow_4: never             # or always

    trigger: order-received     # the start event: its id, or its message or signal (default: one without a trigger)

    messages:                   # by message, signal, or id of the event: sent when a token waits for it
      payment-received: {after: {uniform: [1m, 1h]}, sets: {paid: true}, probability: 90%}
      shipped: 4m               # this long after the wait began

    cancel: {after: 1h, probability: 5%}          # an operator cancels the instance, or
    suspend: {after: 20m, lasts: 1h}              # suspends it; without `lasts`, forever

    cases:                      # single instances by number; they take precedence
      17: {variables: {amount: 9999}, tasks: {ship: {hangs: true}}, starts: 90m}

Durations are written ``250ms``, ``15s``, ``2m``, ``1h30m``, ``2d``; a bare number is seconds.
A duration may be random: one of ``{fixed: duration}``, ``{uniform: [low, high]}``,
``{normal: [mean, deviation]}``, ``{lognormal: {median: duration, sigma: number}}`` and
``{exponential: mean}``. Probabilities are ``0.05``, ``5%``, ``true`` or ``false``.

Precedence, field by field: the id of a task, then globs in their order, then ``default`` (initially ``{takes: 1s}``). A
task is any element that does work: task, serviceTask, userTask, manualTask, scriptTask, sendTask, businessRuleTask, and
a callActivity whose process is not at hand.

A job that fails and has retries left is tried again after ``backoff``; one that has none is FAILED, and its instance
stays ACTIVE, as with an incident. In ``cases``, ``starts`` is when the instance starts, as a duration after the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import blake2b
from random import Random
from typing import Any, NoReturn, TypeVar

import yaml

from tokctl.errors import InputError
from tokctl.simulation.distributions import (
    Rate,
    ScenarioValueError,
    ValueGenerator,
    check_keys,
    parse_duration_distribution,
    parse_probability,
    parse_rate,
    parse_seconds,
    parse_start_time,
    parse_value_generator,
)
from tokctl.simulation.flow_choice import ALWAYS, NEVER, FlowPlan

_Duration = Callable[[Random], timedelta]
_T = TypeVar("_T")
_MAX_VALUES = 1_000_000
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Retries:
    """The maximum number of retries of a failed job, and the delay."""

    max: int = 0
    backoff: _Duration = field(default_factory=lambda: parse_duration_distribution(0))


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The plan for the jobs of an element. None is a field that is set elsewhere or not at all."""

    takes: _Duration | None = None
    fails: float | None = None
    fails_times: int | None = None
    retries: Retries | None = None
    hangs: float | None = None
    workers: tuple[str, ...] | None = None
    timeout: timedelta | None = None
    sets: Mapping[str, ValueGenerator] | None = None
    error: str | None = None
    error_probability: float | None = None
    instances: ValueGenerator | None = None

    def with_fallback(self, other: TaskPlan) -> TaskPlan:
        """Return this plan, with missing fields from the other one."""
        return TaskPlan(
            *(
                getattr(other, name) if getattr(self, name) is None else getattr(self, name)
                for name in TaskPlan.__slots__
            )
        )


@dataclass(frozen=True, slots=True)
class MessagePlan:
    """A message or signal that is sent after a token starts to wait for it."""

    after: _Duration
    sets: Mapping[str, ValueGenerator]
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Intervention:
    """An operator's action on an instance: how long after its start, and for how long."""

    after: timedelta
    probability: float = 1.0
    lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """The plan of an instance: that of the scenario, or that of one case."""

    variables: Mapping[str, ValueGenerator] = field(default_factory=dict)
    tasks: Mapping[str, TaskPlan] = field(default_factory=dict)
    messages: Mapping[str, MessagePlan] = field(default_factory=dict)
    flows: Mapping[str, FlowPlan] = field(default_factory=dict)
    cancel: Intervention | None = None
    suspend: Intervention | None = None
    starts: timedelta | None = None

    def task(self, element_id: str) -> TaskPlan:
        """Return the plan for an element: by its id, then by matching globs, then the default."""
        found = self.tasks.get(element_id, TaskPlan())
        for pattern, task in self.tasks.items():
            if pattern not in {element_id, "default"} and fnmatchcase(element_id, pattern):
                found = found.with_fallback(task)
        return found.with_fallback(self.tasks.get("default", TaskPlan()))


@dataclass(frozen=True, slots=True)
class Scenario(InstancePlan):
    """A whole scenario; without any field it is one instance in which every task takes a second."""

    process: str | None = None
    trigger: str | None = None
    seed: int | str = 1
    start: datetime | None = None
    until: timedelta | None = None
    count: int = 1
    rate: Rate | None = None
    poisson: bool = False
    cases: Mapping[int, InstancePlan] = field(default_factory=dict)
    fingerprint: str = ""  # of its content, except the process, the seed and the number of instances


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads a set as a list: the order of a set differs from run to run."""


_Loader.add_constructor("tag:yaml.org,2002:set", lambda loader, node: list(loader.construct_mapping(node)))


def parse_scenario(text: str | bytes, source: str = "scenario") -> Scenario:
    """Read a scenario from YAML.

    Raises ``InputError``, with the path of the field, for invalid YAML, unknown fields (with the nearest valid name)
    and invalid values.
    """
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - a safe loader, in C where there is one
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise InputError(f"{source}{line}: invalid YAML: {error.problem or error.context}.") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:  # an impossible date, for example, is not a YAMLError
        raise InputError(f"{source}: invalid YAML: {' '.join(str(error).split())}.") from None
    if not _is_small(data):
        raise InputError(f"{source}: more than {_MAX_VALUES:,} values, with those that aliases (*) repeat.")
    return _parse_scenario(_Node(source, "", {} if data is None else data))


def _is_small(data: Any) -> bool:
    """Tell whether data has few values; aliases let a few lines have billions, or contain themselves."""
    seen, left = 0, [iter([data])]
    while left and seen <= _MAX_VALUES:
        value = next(left[-1], _NOTHING)
        if value is _NOTHING:
            left.pop()
            continue
        seen += 1
        if isinstance(value, (Mapping, list)):
            left.append(iter(value.values() if isinstance(value, Mapping) else value))
    return not left


class _Node:
    """A value of a scenario with its path; ``value`` is None if it is absent."""

    def __init__(self, source: str, path: str, value: Any) -> None:
        self.source = source
        self.path = path
        self.value = value

    def child(self, name: object, default: object = None) -> _Node:
        """Return a field of a mapping."""
        path = f"{self.path}.{name}" if self.path else str(name)
        return _Node(self.source, path, default if self.value is None else self.value.get(name, default))

    def fields(self, *names: str, short: str = "") -> _Node:
        """Return this mapping, which may have only these fields; any other value is the field ``short``."""
        node = self
        if short and not isinstance(self.value, Mapping):
            node = _Node(self.source, self.path, {short: self.value})
        node.items()
        if names and node.value is not None:
            node.read(lambda given: check_keys(given, names))
        return node

    def items(self) -> dict[Any, _Node]:
        """Return the fields of this mapping by name; empty if it is absent."""
        if self.value is None:
            return {}
        if not isinstance(self.value, Mapping):
            self.fail("expected a mapping of names to values")
        return {name: self.child(name) for name in self.value}

    def optional(self, read: Callable[[Any], _T]) -> _T | None:
        return None if self.value is None else self.read(read)

    def read(self, read: Callable[[Any], _T]) -> _T:
        try:
            return read(self.value)
        except ScenarioValueError as error:
            self.fail(str(error))
        except OverflowError:
            self.fail(f"{self.value!r} is too large")

    def draws(self) -> dict[str, ValueGenerator]:
        """Return the variables with the source of each value."""
        return {str(name): node.read(parse_value_generator) for name, node in self.items().items()}

    def fail(self, what: str) -> NoReturn:
        place = f"{self.source}: {self.path}" if self.path else self.source
        raise InputError(f"{place}: {what}.")


def _parse_scenario(given: _Node) -> Scenario:
    given.fields("process", "trigger", "seed", "start", "until", "instances", "cases", *_CASE_FIELDS)
    instances = given.child("instances", 1).fields("count", "rate", "arrival", short="count")
    arrival = instances.child("arrival", "fixed")
    if arrival.value not in {"fixed", "poisson"}:
        arrival.fail(f"{arrival.value!r} is neither fixed nor poisson")
    if arrival.value == "poisson" and "rate" not in instances.value:
        arrival.fail("poisson: the rate is missing")
    seed, process, trigger = given.child("seed", 1), given.child("process"), given.child("trigger")
    if isinstance(seed.value, bool) or not isinstance(seed.value, (int, str)):
        seed.fail(f"{seed.value!r} is neither an integer nor a text")
    if process.value is not None and not isinstance(process.value, str):
        process.fail(f"{process.value!r} is not a process id")
    if trigger.value is not None and not isinstance(trigger.value, str):
        trigger.fail(f"{trigger.value!r} is not the id of a start event, or the name of its message or signal")
    count = instances.child("count", 1).read(_parse_count)
    return Scenario(
        **_parse_case(given),
        process=process.value,
        trigger=trigger.value,
        seed=seed.value,
        start=given.child("start").optional(parse_start_time),
        until=given.child("until").optional(_parse_timedelta),
        count=count,
        rate=instances.child("rate").optional(parse_rate),
        poisson=arrival.value == "poisson",
        cases=dict(_parse_cases(given.child("cases"), count)),
        fingerprint=_fingerprint(given.value, instances.value),
    )


def _parse_cases(given: _Node, count: int) -> Iterator[tuple[int, InstancePlan]]:
    for number, case in given.items().items():
        if _Node(case.source, case.path, number).read(_parse_count) > count:
            case.fail(f"instance not found: instances.count is {count}")
        yield number, InstancePlan(**_parse_case(case.fields(*_CASE_FIELDS)))


def _parse_case(given: _Node) -> dict[str, Any]:
    """Return the fields of an InstancePlan."""
    return {
        "variables": given.child("variables").draws(),
        "tasks": {str(name): _parse_task(task) for name, task in given.child("tasks").items().items()},
        "messages": {str(name): _parse_message(node) for name, node in given.child("messages").items().items()},
        "flows": {str(name): node.read(_parse_flow) for name, node in given.child("flows").items().items()},
        "cancel": _parse_intervention(given, "cancel", "after", "probability"),
        "suspend": _parse_intervention(given, "suspend", "after", "probability", "lasts"),
        "starts": given.child("starts").optional(_parse_timedelta),
    }


def _parse_task(given: _Node) -> TaskPlan:
    given.fields(*_TASK_FIELDS)
    fails, worker, sets = given.child("fails"), given.child("worker"), given.child("sets")
    is_exact = isinstance(fails.value, Mapping)
    workers = worker.value if isinstance(worker.value, list) else [worker.value]
    if worker.value is not None and (not workers or not all(isinstance(one, str) for one in workers)):
        worker.fail("expected a name or a list of names")
    throws = given.child("throws").fields("error", "probability")
    if throws.value and not isinstance(throws.value.get("error"), str):
        throws.child("error").fail("the error code is missing")
    probability = _Node(throws.source, throws.path, throws.child("probability", 1).value)
    return TaskPlan(
        takes=given.child("takes").optional(parse_duration_distribution),
        fails=None if is_exact else fails.optional(parse_probability),
        fails_times=fails.fields("times").child("times").read(_parse_whole_number) if is_exact else None,
        retries=_parse_retries(given.child("retries")),
        hangs=given.child("hangs").optional(parse_probability),
        workers=None if worker.value is None else tuple(workers),
        timeout=given.child("timeout").optional(_parse_timedelta),
        sets=sets.draws() if given.value and "sets" in given.value else None,
        error=throws.child("error").value,
        error_probability=probability.read(parse_probability) if throws.value else None,
        instances=given.child("instances").optional(_parse_instances),
    )


def _parse_retries(given: _Node) -> Retries | None:
    if given.value is None:
        return None
    fields = given.fields("max", "backoff", short="max")
    return Retries(
        fields.child("max", 3).read(_parse_whole_number), fields.child("backoff", 0).read(parse_duration_distribution)
    )


def _parse_message(given: _Node) -> MessagePlan:
    fields = given.fields("after", "sets", "probability", short="after")
    return MessagePlan(
        fields.child("after", 0).read(parse_duration_distribution),
        fields.child("sets").draws(),
        fields.child("probability", 1).read(parse_probability),
    )


def _parse_intervention(given: _Node, name: str, *names: str) -> Intervention | None:
    if not given.value or name not in given.value:
        return None
    fields = given.child(name).fields(*names, short="after")
    return Intervention(
        fields.child("after").read(_parse_timedelta),
        fields.child("probability", 1).read(parse_probability),
        fields.child("lasts").optional(_parse_timedelta),
    )


def _fingerprint(given: Mapping[Any, Any], instances: Mapping[Any, Any]) -> str:
    said = {name: value for name, value in given.items() if name not in {"process", "seed", "instances"}}
    arrivals = {name: value for name, value in instances.items() if name != "count"}
    # The order matters: random values are drawn in this order.
    return blake2b(repr((said, arrivals)).encode(), digest_size=16).hexdigest() if said or arrivals else ""


def _parse_flow(value: object) -> FlowPlan:
    if value in (ALWAYS, NEVER):
        return str(value)
    try:
        return parse_probability(value)
    except ScenarioValueError:
        raise ScenarioValueError(f"{value!r} is none of {ALWAYS}, {NEVER}, and a share such as 70%") from None


def _parse_instances(value: object) -> ValueGenerator:
    generate = parse_value_generator(value)
    if not isinstance(value, Mapping):
        _parse_whole_number(value)
    return generate


def _parse_timedelta(value: object) -> timedelta:
    return timedelta(seconds=parse_seconds(value))


def _parse_whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ScenarioValueError(f"{value!r} is not an integer of 0 or more")
    return value


def _parse_count(value: object) -> int:
    if value == 0:
        raise ScenarioValueError("0 is not an integer of 1 or more")
    return _parse_whole_number(value)


_CASE_FIELDS = ("variables", "tasks", "messages", "flows", "cancel", "suspend", "starts")
_TASK_FIELDS = ("takes", "fails", "retries", "hangs", "worker", "timeout", "sets", "throws", "instances")
