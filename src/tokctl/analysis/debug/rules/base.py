"""The base class of debug rules, the instance that rules check, and the matches that they return.

A package adds a rule with a subclass of ``Rule`` that it names in the entry point group ``tokctl.rules``; docs/rules.md
has an example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count, repeat
from typing import Any, ClassVar, cast

from msgspec import Struct

from tokctl.analysis.debug.child_lists import MISSING_PARENT, NO_PARENT, find_listed_parents
from tokctl.analysis.joins import WaitingJoin, find_waiting_joins
from tokctl.bpmn.graph import ProcessGraph
from tokctl.errors import UsageError
from tokctl.model.definitions import Definition
from tokctl.model.durations import parse_duration
from tokctl.model.element_types import is_joining_gateway
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import FAILED, FINAL_STATES
from tokctl.model.visits import Visit

LOW, MEDIUM, HIGH = "LOW", "MEDIUM", "HIGH"
SEVERITIES = (LOW, MEDIUM, HIGH)
"""From the least to the most severe."""

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

NO_CHILD = -1
"""In ``RuleContext.children``: there is no further child."""


class Threshold(Struct, frozen=True):
    """A setting of a rule: its name, its default value, and its meaning.

    A threshold whose default is a timedelta takes durations such as ``10m``; one whose default is an int takes whole
    numbers from ``minimum`` to ``maximum``.
    """

    name: str
    default: timedelta | int
    meaning: str
    minimum: int = 0
    maximum: int | None = None

    def parse(self, value: Any) -> timedelta | int:
        """Return the value of a threshold from a command line or a configuration file. Raises UsageError."""
        if isinstance(self.default, timedelta):
            if isinstance(value, str):
                return parse_duration(value)
            raise UsageError(f"threshold {self.name}: expected a duration such as 10m, got {value!r}.")
        most = math.inf if self.maximum is None else self.maximum
        with suppress(TypeError, ValueError, OverflowError):
            number = int(value)
            if not isinstance(value, bool) and number == float(value) and self.minimum <= number <= most:
                return number
        allowed = f"of at least {self.minimum}" if self.maximum is None else f"from {self.minimum} to {self.maximum}"
        raise UsageError(f"threshold {self.name}: expected an integer {allowed}, got {value!r}.")


def duration_threshold(name: str, default: timedelta, meaning: str) -> Threshold:
    """Return a threshold that is a duration."""
    return Threshold(name, default, meaning)


def integer_threshold(name: str, default: int, meaning: str, minimum: int = 0, maximum: int | None = None) -> Threshold:
    """Return a threshold that is a whole number."""
    return Threshold(name, default, meaning, minimum, maximum)


class RuleMatch(Struct, frozen=True, gc=False):
    """A token with a problem.

    ``message`` describes the problem, ``since`` is when it began, and ``weight`` ranks the matches of one rule: the
    higher, the worse; the oldest of equal weight come first. ``details`` are further members of its JSON document.
    ``message`` and ``details`` can be functions of the visit, which are called only for matches that are shown.
    """

    visit: Visit
    message: str | Callable[[Visit], str]
    since: datetime | None = None
    weight: float = 0.0
    details: dict[str, Any] | Callable[[Visit], dict[str, Any]] = {}

    @property
    def text(self) -> str:
        """The description of the problem."""
        return self.message if isinstance(self.message, str) else self.message(self.visit)

    @property
    def facts(self) -> dict[str, Any]:
        """The further members of the JSON document."""
        return self.details if isinstance(self.details, dict) else self.details(self.visit)


Durations = Callable[[str | None, Iterable[str]], Iterator[tuple[str, str, float]]]
"""(process id, element ids) → (instance id, element id, ms) of the finished visits in the last instances of a process.

If many instances are checked, the visits of all elements are returned, because the next instances may need them.
"""


class RuleContext:
    """An instance that rules check. Derived data is computed on first use.

    ``visits`` are in the order of their creation, without duplicate ids. If all rules of a run have
    ``needs_finished`` False, they are the live tokens only. ``find_graph`` returns the graph of the definition, which
    many instances share; without it, one is built.
    """

    def __init__(
        self,
        status: InstanceStatus,
        visits: Sequence[Visit],
        now: datetime,
        find_definition: Callable[[], Definition | None] = lambda: None,
        durations: Durations = lambda *_: iter(()),
        find_graph: Callable[[], ProcessGraph] | None = None,
    ) -> None:
        self.status = status
        self.visits = visits
        self.now = now
        self._find_definition = find_definition
        self._find_graph = find_graph
        self.durations = durations

    @property
    def instance_id(self) -> str:
        """The id of the instance."""
        return self.status.instance.instance_id

    @property
    def process_id(self) -> str | None:
        """The process id of the instance."""
        return self.status.instance.process_id

    @cached_property
    def definition(self) -> Definition | None:
        """The process definition; None if it is unknown."""
        return self._find_definition()

    @cached_property
    def waiting_joins(self) -> list[WaitingJoin]:
        """The joins at which tokens wait; none if the definition is unknown, or does not match the tokens.

        They are right only for rules with ``needs_finished`` and ``needs_flow_history``.
        """
        types = {visit.element_type for visit in self.moving}
        if not any(kind is None or is_joining_gateway(kind) for kind in types) or self.definition is None:
            return []
        graph = ProcessGraph(self.definition) if self._find_graph is None else self._find_graph()
        return find_waiting_joins(self.visits, graph)

    @cached_property
    def live(self) -> list[Visit]:
        """The tokens that have not ended; those that FAILED are among them."""
        return [visit for visit in self.visits if visit.state not in FINAL_STATES]

    @cached_property
    def moving(self) -> list[Visit]:
        """The live tokens that have not FAILED."""
        return [visit for visit in self.live if visit.can_move] if FAILED in self.states else self.live

    @cached_property
    def states(self) -> set[str]:
        """The states of the tokens."""
        return {visit.state for visit in self.visits}

    @cached_property
    def positions(self) -> dict[str, int]:
        """The index of each token in ``visits``, by id."""
        return dict(zip([visit.token_id for visit in self.visits], count()))

    @cached_property
    def listed_parents(self) -> list[int] | None:
        """``parents`` if the lists of children match them; None if they may not."""
        return find_listed_parents(self.visits)

    @cached_property
    def parents(self) -> list[int]:
        """The index in ``visits`` of the parent of each token, NO_PARENT, or MISSING_PARENT."""
        if self.listed_parents is not None:
            return self.listed_parents
        known = cast("dict[str | None, int]", self.positions) | {None: NO_PARENT}
        return list(map(known.get, [visit.parent_token_id for visit in self.visits], repeat(MISSING_PARENT)))

    @cached_property
    def children(self) -> tuple[list[int], list[int]]:
        """The first child of each token and the next child of its parent, as indexes in ``visits``, or NO_CHILD.

        They are in order of creation. The first list has one more entry: the first token without a known parent.
        """
        size = len(self.parents)
        first, following = [NO_CHILD] * (size + 1), [NO_CHILD] * size
        for position in range(size - 1, -1, -1):
            parent = self.parents[position]
            if parent < 0:
                parent = size
            following[position] = first[parent]
            first[parent] = position
        return first, following

    def age(self, visit: Visit) -> timedelta | None:
        """Return how long ago a token was created; None if that is unknown."""
        return None if visit.created_at is None else self.now - visit.created_at

    def before(self, limit: timedelta) -> datetime:
        """Return the time ``limit`` ago; the first or last possible one if it is out of range."""
        try:
            return self.now - limit
        except OverflowError:
            return _FIRST if limit > timedelta(0) else _LAST


class Rule:
    """A debug rule. One object checks all instances of one run.

    ``name`` consists of capital letters, digits and underscores; a rule of another package replaces the rule of tokctl
    with the same name. ``meaning`` is a sentence. ``next`` is a command for further investigation, in which
    ``{instance}``, ``{token}`` and ``{element}`` are replaced by the ids of the worst match. ``needs_finished`` and
    ``needs_flow_history`` tell which data the rule needs. A token counts once per rule, however often it is found.
    """

    name: ClassVar[str]
    severity: ClassVar[str]
    meaning: ClassVar[str]
    next: ClassVar[str] = "tokctl explain {instance} {token}"
    thresholds: ClassVar[tuple[Threshold, ...]] = ()
    needs_finished: ClassVar[bool] = False
    needs_flow_history: ClassVar[bool] = False
    needs_failed_only: ClassVar[bool] = False
    """Whether the rule looks at FAILED tokens only, so that others need not be read for it."""
    finds_stuck: ClassVar[bool] = False
    """Whether the matches are tokens that do not move on, so that they may have a common cause."""
    is_consequence: ClassVar[bool] = False
    """Whether what the rule finds is the effect of what other rules find in the same instance."""
    uses_stuck_matches: ClassVar[bool] = False
    """Whether ``finalize`` needs the matches of the rules with ``finds_stuck``."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self.limits = limits

    def find(self, context: RuleContext) -> Iterable[RuleMatch]:  # noqa: ARG002
        """Yield the matches in one instance."""
        return ()

    def finalize(self, found: Mapping[str, Sequence[RuleMatch]]) -> Iterable[RuleMatch]:  # noqa: ARG002
        """Yield the matches that depend on all instances together, after the last one.

        ``found`` are the matches of the rules with ``finds_stuck``, by rule.
        """
        return ()

    def summary(self) -> Iterable[str]:
        """Return phrases for the message of the finding, before the worst match. Called last."""
        return ()

    def notes(self) -> Iterable[str]:
        """Return sentences for below the findings, on what many matches have in common. Called last."""
        return ()

    def evidence(self) -> dict[str, Any]:
        """Return further members of the finding's JSON document. Called last."""
        return {}
