"""Scenarios: what a simulated process is put through, read from YAML.

::

    process: order              # which process, where the model has several
    seed: 7                     # the same seed, scenario and model give the same tokens, ids included (default 1)
    start: 2025-01-11T10:00:00Z # when the first instance starts (default: the caller says)
    until: 2h                   # the clock stops this long after the start (default: when all is done)

    instances:                  # or a plain number
      count: 1000               # default 1
      rate: 10/min              # 2/s, 10/min, 30/h; left out, all start at once
      arrival: poisson          # or fixed, which is the default

    variables:                  # what an instance starts with
      currency: EUR                              # a constant, any JSON
      method: {choice: {credit: 7, invoice: 3}}  # with weights, or a list without
      amount: {range: [10.00, 500.00]}           # whole numbers draw whole numbers
      orderId: {sequence: "ORD-{:05d}"}          # the instance's number; a list is gone through in turn

    tasks:                      # by element id, by glob, and `default` for every task
      default:
        takes: 1s
        worker: worker-01
      "charge-*":
        takes: {lognormal: {median: 2s, sigma: 0.6}}
        fails: 20%              # each attempt, with this probability; {times: 2}: the first two
        retries: {max: 3, backoff: 30s}
        timeout: 2m             # what each attempt is granted: timeout_at in the context
      ship:
        takes: {uniform: [5m, 2h]}
        hangs: 1%               # never ends; true: always
        worker: [north, south]  # one of them, by lot
        sets: {carrier: {choice: [dhl, ups]}}     # variables that the task leaves behind
      check:
        throws: {error: E-STOCK, probability: 5%} # a BPMN error, for a boundary event

    messages:                   # by a message's or signal's name: sent when something waits for it
      payment-received: {after: {uniform: [1m, 1h]}, sets: {paid: true}, probability: 90%}
      shipped: 4m               # that long after the wait began

    cancel: {after: 1h, probability: 5%}          # an operator cancels the instance, or
    suspend: {after: 20m, lasts: 1h}              # suspends it; without `lasts`, for good

    cases:                      # single instances by number; what they say goes before the rest
      17: {variables: {amount: 9999}, tasks: {ship: {hangs: true}}, starts: 90m}

Spans are written ``250ms``, ``15s``, ``2m``, ``1h30m``, ``2d``; a bare number is seconds.
How long something takes is a span or one of ``{fixed: span}``, ``{uniform: [low, high]}``,
``{normal: [mean, deviation]}``, ``{lognormal: {median: span, sigma: number}}`` and
``{exponential: mean}``. Probabilities are ``0.05``, ``5%``, ``true`` or ``false``.

What is said of a task's own id goes before what a glob says, an earlier glob before a later one,
and all before ``default``: field by field. ``default`` is ``{takes: 1s}`` to begin with. A task is
any element that does work: task, serviceTask, userTask, manualTask, scriptTask, sendTask and
businessRuleTask.

A job that fails and has retries left is tried again after ``backoff``; one that has none is FAILED,
and its instance stays ACTIVE, as with an incident. In ``cases``, ``starts`` is when the instance
starts, as a span after the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import blake2b
from random import Random
from typing import Any, NoReturn, TypeVar

import yaml

from tokctl.errors import InputError
from tokctl.recorder.draws import (
    Draw,
    DrawError,
    Rate,
    known,
    read_duration,
    read_probability,
    read_rate,
    read_span,
    read_time,
    read_value,
)

_Duration = Callable[[Random], timedelta]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed job is tried again, and after how long."""

    max: int = 0
    backoff: _Duration = field(default_factory=lambda: read_duration(0))


@dataclass(frozen=True, slots=True)
class Task:
    """What becomes of an element's jobs. A field that is None is said elsewhere, or nowhere."""

    takes: _Duration | None = None
    fails: float | None = None
    fails_times: int | None = None
    retries: Retries | None = None
    hangs: float | None = None
    workers: tuple[str, ...] | None = None
    timeout: timedelta | None = None
    sets: Mapping[str, Draw] | None = None
    error: str | None = None
    error_probability: float | None = None

    def over(self, other: Task) -> Task:
        """Return this task's fields, and the other's where this one says nothing."""
        return Task(*(
            getattr(other, name) if getattr(self, name) is None else getattr(self, name)
            for name in Task.__slots__
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A message or signal that is sent when something has begun to wait for it."""

    after: _Duration
    sets: Mapping[str, Draw]
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Intervention:
    """What an operator does to an instance, that long after its start, and for how long."""

    after: timedelta
    probability: float = 1.0
    lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What an instance is put through: the scenario's own, or what one case says beside it."""

    variables: Mapping[str, Draw] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    messages: Mapping[str, Message] = field(default_factory=dict)
    cancel: Intervention | None = None
    suspend: Intervention | None = None
    starts: timedelta | None = None

    def task(self, element_id: str) -> Task:
        """Return what is said of an element: by its id, then by the globs that match it, then default."""
        found = self.tasks.get(element_id, Task())
        for pattern, task in self.tasks.items():
            if pattern not in {element_id, "default"} and fnmatchcase(element_id, pattern):
                found = found.over(task)
        return found.over(self.tasks.get("default", Task()))


@dataclass(frozen=True, slots=True)
class Scenario(Case):
    """A whole scenario; without any field it is one instance in which every task takes a second."""

    process: str | None = None
    seed: int | str = 1
    start: datetime | None = None
    until: timedelta | None = None
    count: int = 1
    rate: Rate | None = None
    poisson: bool = False
    cases: Mapping[int, Case] = field(default_factory=dict)
    fingerprint: str = ""  # of what it says, but for the process, the seed and how many instances there are


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads a set as a list: a set's order changes from run to run."""


_Loader.add_constructor("tag:yaml.org,2002:set", lambda loader, node: list(loader.construct_mapping(node)))


def read_scenario(text: str | bytes, source: str = "scenario") -> Scenario:
    """Read a scenario from YAML.

    Raises ``InputError``, with the path of the field, for what is no YAML, for unknown fields
    (naming the nearest that exists) and for values that mean nothing.
    """
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - a safe loader, in C where there is one
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise InputError(f"{source}{line}: no YAML: {error.problem or error.context}.") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that there is not, say, is no YAMLError
        raise InputError(f"{source}: no YAML: {' '.join(str(error).split())}.") from None
    return _Reader(source).scenario({} if data is None else data)


class _Reader:
    """Reads values, and knows where each stands."""

    def __init__(self, source: str) -> None:
        self.source = source

    def scenario(self, data: object) -> Scenario:
        own = ("process", "seed", "start", "until", "instances", "cases")
        given = self.mapping(data, "", (*own, *_CASE_FIELDS))
        instances = given.get("instances", 1)
        if not isinstance(instances, Mapping):
            instances = {"count": instances}
        instances = self.mapping(instances, "instances", ("count", "rate", "arrival"))
        arrival = instances.get("arrival", "fixed")
        if arrival not in {"fixed", "poisson"}:
            self.fail("instances.arrival", f"{arrival!r} is neither fixed nor poisson")
        if arrival == "poisson" and "rate" not in instances:
            self.fail("instances.arrival", "poisson needs a rate")
        seed, process = given.get("seed", 1), given.get("process")
        if isinstance(seed, bool) or not isinstance(seed, (int, str)):
            self.fail("seed", f"{seed!r} is neither a whole number nor a text")
        if process is not None and not isinstance(process, str):
            self.fail("process", f"{process!r} is no process id")
        count = self.value(instances.get("count", 1), "instances.count", _read_count)
        case = self.case(given, "")
        return Scenario(
            variables=case.variables,
            tasks=case.tasks,
            messages=case.messages,
            cancel=case.cancel,
            suspend=case.suspend,
            starts=case.starts,
            process=process,
            seed=seed,
            start=self.optional(given, "start", "", read_time),
            until=self.optional(given, "until", "", _read_timedelta),
            count=count,
            rate=self.optional(instances, "rate", "instances", read_rate),
            poisson=arrival == "poisson",
            cases=self.cases(given.get("cases"), count),
            fingerprint=_fingerprint(given, instances),
        )

    def cases(self, data: object, count: int) -> dict[int, Case]:
        cases = {}
        for number, one in self.mapping(data, "cases").items():
            path = f"cases.{number}"
            if self.value(number, path, _read_count) > count:
                self.fail(path, f"there is no such instance: there are {count} (instances.count)")
            cases[number] = self.case(self.mapping(one, path, _CASE_FIELDS), path)
        return cases

    def case(self, given: Mapping[str, Any], path: str) -> Case:
        def at(name: str) -> str:
            return f"{path}.{name}" if path else name

        return Case(
            variables=self.values(given.get("variables"), at("variables")),
            tasks={
                str(name): self.task(task, f"{at('tasks')}.{name}")
                for name, task in self.mapping(given.get("tasks"), at("tasks")).items()
            },
            messages={
                str(name): self.message(message, f"{at('messages')}.{name}")
                for name, message in self.mapping(given.get("messages"), at("messages")).items()
            },
            cancel=self.intervention(given, "cancel", at("cancel")),
            suspend=self.intervention(given, "suspend", at("suspend")),
            starts=self.optional(given, "starts", path, _read_timedelta),
        )

    def task(self, data: object, path: str) -> Task:
        given = self.mapping(data, path, _TASK_FIELDS)
        fails, times = given.get("fails"), None
        if isinstance(fails, Mapping):
            exact = self.mapping(fails, f"{path}.fails", ("times",))
            times = self.value(exact.get("times"), f"{path}.fails.times", _read_whole)
            fails = None
        worker = given.get("worker")
        workers: list[Any] = worker if isinstance(worker, list) else [worker]
        if worker is not None and (not workers or not all(isinstance(one, str) for one in workers)):
            self.fail(f"{path}.worker", "needs a name, or a list of names")
        throws = self.mapping(given.get("throws"), f"{path}.throws", ("error", "probability"))
        if throws and not isinstance(throws.get("error"), str):
            self.fail(f"{path}.throws.error", "needs the error's code")
        return Task(
            takes=self.optional(given, "takes", path, read_duration),
            fails=None if fails is None else self.value(fails, f"{path}.fails", read_probability),
            fails_times=times,
            retries=self.retries(given.get("retries"), f"{path}.retries"),
            hangs=self.optional(given, "hangs", path, read_probability),
            workers=None if worker is None else tuple(workers),
            timeout=self.optional(given, "timeout", path, _read_timedelta),
            sets=self.values(given["sets"], f"{path}.sets") if "sets" in given else None,
            error=throws.get("error"),
            error_probability=self.value(throws.get("probability", 1), f"{path}.throws", read_probability)
            if throws
            else None,
        )

    def retries(self, data: object, path: str) -> Retries | None:
        if data is None:
            return None
        given = self.mapping(data, path, ("max", "backoff")) if isinstance(data, Mapping) else {"max": data}
        return Retries(
            self.value(given.get("max", 3), f"{path}.max", _read_whole),
            self.value(given.get("backoff", 0), f"{path}.backoff", read_duration),
        )

    def message(self, data: object, path: str) -> Message:
        data = data if isinstance(data, Mapping) else {"after": data}
        given = self.mapping(data, path, ("after", "sets", "probability"))
        return Message(
            self.value(given.get("after", 0), f"{path}.after", read_duration),
            self.values(given.get("sets"), f"{path}.sets"),
            self.value(given.get("probability", 1), f"{path}.probability", read_probability),
        )

    def intervention(self, given: Mapping[str, Any], name: str, path: str) -> Intervention | None:
        if name not in given:
            return None
        names = ("after", "probability") if name == "cancel" else ("after", "probability", "lasts")
        one = given[name]
        one = self.mapping(one, path, names) if isinstance(one, Mapping) else {"after": one}
        return Intervention(
            self.value(one.get("after"), f"{path}.after", _read_timedelta),
            self.value(one.get("probability", 1), f"{path}.probability", read_probability),
            self.optional(one, "lasts", path, _read_timedelta),
        )

    def values(self, data: object, path: str) -> dict[str, Draw]:
        return {
            str(name): self.value(value, f"{path}.{name}", read_value)
            for name, value in self.mapping(data, path).items()
        }

    def mapping(self, data: object, path: str, names: tuple[str, ...] = ()) -> Mapping[Any, Any]:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self.fail(path, "needs fields with values")
        if names:
            self.value(data, path, lambda given: known(given, names))
        return data

    def optional(self, given: Mapping[str, Any], name: str, path: str, read: Callable[[Any], _T]) -> _T | None:
        if given.get(name) is None:
            return None
        return self.value(given[name], f"{path}.{name}" if path else name, read)

    def value(self, value: Any, path: str, read: Callable[[Any], _T]) -> _T:
        try:
            return read(value)
        except DrawError as error:
            self.fail(path, str(error))

    def fail(self, path: str, what: str) -> NoReturn:
        place = f"{self.source}: {path}" if path else self.source
        raise InputError(f"{place}: {what}.")


def _fingerprint(given: Mapping[Any, Any], instances: Mapping[Any, Any]) -> str:
    said = {name: value for name, value in given.items() if name not in {"process", "seed", "instances"}}
    arrivals = {name: value for name, value in instances.items() if name != "count"}
    # Order counts, for chance is drawn in the order in which things stand.
    return blake2b(repr((said, arrivals)).encode(), digest_size=16).hexdigest() if said or arrivals else ""


def _read_timedelta(value: object) -> timedelta:
    return timedelta(seconds=read_span(value))


def _read_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DrawError(f"{value!r} is no whole number of 0 or more")
    return value


def _read_count(value: object) -> int:
    if value == 0:
        raise DrawError("0 is no whole number of 1 or more")
    return _read_whole(value)


_CASE_FIELDS = ("variables", "tasks", "messages", "cancel", "suspend", "starts")
_TASK_FIELDS = ("takes", "fails", "retries", "hangs", "worker", "timeout", "sets", "throws")
