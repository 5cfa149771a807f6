"""What a debug rule is, what it looks at, and what it finds.

A rule of one's own is a subclass of ``Rule`` that the entry point group ``tokctl.rules`` names::

    from tokctl.process.rules.base import HIGH, Case, Hit, Rule, number


    class BigOrderWaits(Rule):
        name = "BIG_ORDER_WAITS"
        severity = HIGH
        meaning = "An approval has been tried more often than approvals should be."
        next = "tokctl tokens show {instance} {token}"
        thresholds = (number("approvals", 3, "attempts at an approval"),)

        def find(self, case: Case):
            for visit in case.live:
                attempts = visit.context.retries_used or 0
                if visit.element_id == "approve" and attempts > self.limits["approvals"]:
                    yield Hit(visit, f"{attempts} attempts", since=visit.created_at, badness=attempts)

and, in the package that holds it::

    [project.entry-points."tokctl.rules"]
    big_order_waits = "my_package:BigOrderWaits"
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count, repeat
from typing import Any, ClassVar, cast

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.process.model import FINAL_STATES, Definition
from tokctl.process.query import parse_span
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Visit

LOW, MEDIUM, HIGH = "LOW", "MEDIUM", "HIGH"
SEVERITIES = (LOW, MEDIUM, HIGH)
"""From the least to the worst."""

NO_PARENT, MISSING = -1, -2


class Threshold(Struct, frozen=True):
    """Something that can be set: its name, what it is unless set, and what it means.

    A default of type timedelta takes spans such as ``10m``, one of type int whole numbers from ``least``
    to ``most``.
    """

    name: str
    default: timedelta | int
    meaning: str
    least: int = 0
    most: int | None = None

    def read(self, value: Any) -> timedelta | int:
        """Read a value as people write it. Raises UsageError."""
        if isinstance(self.default, timedelta):
            if isinstance(value, str):
                return parse_span(value)
            raise UsageError(f"the threshold {self.name} takes a span such as 10m, not {value!r}.")
        try:
            number = int(value)
            if isinstance(value, bool) or number != float(value) or number < self.least:
                raise ValueError  # noqa: TRY301 - all that is wrong gets the same answer
            if self.most is not None and number > self.most:
                raise ValueError  # noqa: TRY301
        except (TypeError, ValueError, OverflowError):
            allowed = f"of at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"
            raise UsageError(f"the threshold {self.name} takes a whole number {allowed}, not {value!r}.") from None
        return number


def span(name: str, default: timedelta, meaning: str) -> Threshold:
    """A threshold that is a span of time."""
    return Threshold(name, default, meaning)


def number(name: str, default: int, meaning: str, least: int = 0, most: int | None = None) -> Threshold:
    """A threshold that is a whole number."""
    return Threshold(name, default, meaning, least, most)


class Hit(Struct, frozen=True, gc=False):
    """A token in trouble.

    ``says`` is what was seen of it, ``since`` when it began, ``badness`` how bad it is beside others of
    the same rule. ``figures`` are further members of its document: the documented ones, and evidence.
    """

    visit: Visit
    says: str
    since: datetime | None = None
    badness: float = 0.0
    figures: dict[str, Any] = {}


Durations = Callable[[str | None, Iterable[str]], Iterator[tuple[str, str, float]]]
"""(process id, element ids) → (instance id, element id, ms) of finished visits in the process's last instances.

Where many instances are looked at, those of all elements: for what the next instance may ask.
"""


class Case:
    """An instance as the rules see it. What takes work is worked out when it is asked for.

    ``visits`` stand in the order of their creation, each id once. A run whose rules look only at what is
    live (``Rule.reads_all`` is False) has only live tokens in ``visits``.
    """

    def __init__(
        self,
        status: InstanceStatus,
        visits: Sequence[Visit],
        now: datetime,
        find_definition: Callable[[], Definition | None] = lambda: None,
        durations: Durations = lambda *_: iter(()),
    ) -> None:
        self.status = status
        self.visits = visits
        self.now = now
        self._find_definition = find_definition
        self.durations = durations

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.status.instance.instance_id

    @property
    def process_id(self) -> str | None:
        """The process that the instance is of."""
        return self.status.instance.process_id

    @cached_property
    def definition(self) -> Definition | None:
        """The process model; None where it is unknown."""
        return self._find_definition()

    @cached_property
    def live(self) -> list[Visit]:
        """The tokens that have not come to their end."""
        if self.states <= FINAL_STATES:
            return []
        return [visit for visit in self.visits if visit.state not in FINAL_STATES]

    @cached_property
    def states(self) -> set[str]:
        """The states that there are."""
        return {visit.state for visit in self.visits}

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where in ``visits`` each token stands, by id."""
        return dict(zip([visit.token_id for visit in self.visits], count()))

    @cached_property
    def parents(self) -> array[int]:
        """Where in ``visits`` each token's parent stands; NO_PARENT for none, MISSING for one that is not there."""
        named = [visit.parent_token_id for visit in self.visits]
        known = cast("dict[str | None, int]", self.positions)
        parents = array("i", map(known.get, named, repeat(MISSING)))
        for position in [position for position, parent in enumerate(named) if parent is None]:
            parents[position] = NO_PARENT
        return parents

    def age(self, visit: Visit) -> timedelta | None:
        """How long ago a token was created; None where nobody says."""
        return None if visit.created_at is None else self.now - visit.created_at


class Rule:
    """A rule; one object looks at all the cases of one run.

    ``name`` is of capital letters, digits and underscores; a rule of the same name takes the place of
    ours. ``meaning`` is a sentence; ``next`` a command to look further with, in which ``{instance}``,
    ``{token}`` and ``{element}`` stand for the worst hit's. ``reads_all`` says whether finished tokens
    matter to it, ``reads_flows`` whether flow histories do. A token counts once, however often it is found.
    """

    name: ClassVar[str]
    severity: ClassVar[str]
    meaning: ClassVar[str]
    next: ClassVar[str] = "tokctl explain {instance} {token}"
    thresholds: ClassVar[tuple[Threshold, ...]] = ()
    reads_all: ClassVar[bool] = False
    reads_flows: ClassVar[bool] = False
    stuck: ClassVar[bool] = False
    """Whether its hits are tokens that do not move on, so that they may have a cause in common."""
    reads_stuck: ClassVar[bool] = False
    """Whether it builds on what the rules over such tokens found."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self.limits = limits

    def find(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Look at an instance."""
        return ()

    def conclude(self, found: Mapping[str, Sequence[Hit]]) -> Iterable[Hit]:  # noqa: ARG002
        """Say what shows only in all instances together.

        ``found`` are the hits so far on tokens that do not move on, by rule.
        """
        return ()

    def sums_up(self) -> Iterable[str]:
        """Say what is to be told before the worst token, once all is seen."""
        return ()

    def explain(self) -> dict[str, Any]:
        """Further members of the finding's document, once all is seen."""
        return {}
