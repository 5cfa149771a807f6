"""How long visits took: by element, type, worker or process, and whether it differs from another time.

Only COMPLETED visits count among durations: one that was cancelled or failed says how long somebody
was patient, not how long the work takes, and one that is live is not over. They are counted beside.

Where the time went is told by what kind of element a token stood at (``kind_of_time``):

- **processing**: work that runs by itself: service, script, send, business-rule and plain tasks;
- **waiting**: for a person, a message, a timer or another branch: user, manual and receive tasks,
  catch and boundary events, event-based gateways, and those that can join (parallel, inclusive,
  complex); and *between* tokens: from the end of a parent to the beginning of its child;
- **overhead**: the engine's own steps: exclusive gateways and what they evaluate, start, end and throw
  events;
- **unknown**: nobody says what type the element has.

Sub-processes and call activities hold the tokens of what lies inside. Their time is told, but it is no
part of the division, for it would count twice.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain, compress
from typing import Any, NamedTuple, cast

from msgspec import Struct
from msgspec.structs import replace

from tokctl.process.figures import NONE, Figures, exact_sum, figures
from tokctl.process.model import COMPLETED, EPOCH, FINAL_STATES

# --- kinds of time --------------------------------------------------------------------------------

PROCESSING = "processing"
WAITING = "waiting"
OVERHEAD = "overhead"
UNKNOWN = "unknown"
SCOPE = "scope"

_KINDS = dict.fromkeys(("subProcess", "transaction", "adHocSubProcess", "callActivity"), SCOPE) | dict.fromkeys(
    ("userTask", "manualTask", "receiveTask", "intermediateCatchEvent", "boundaryEvent", "eventBasedGateway",
     "parallelGateway", "inclusiveGateway", "complexGateway"), WAITING)  # fmt: skip
_FAMILY_KINDS = {"task": PROCESSING, "Task": PROCESSING, "gateway": OVERHEAD, "Gateway": OVERHEAD,
                 "event": OVERHEAD, "Event": OVERHEAD}  # fmt: skip


def kind_of_time(element_type: str | None) -> str:
    """Say what the time is that a token spends at an element of this type.

    PROCESSING, WAITING, OVERHEAD; SCOPE for what holds the tokens of others (their time is told
    already); UNKNOWN for a type that nobody knows. A type of an engine's own counts by its family.
    """
    if element_type is None:
        return UNKNOWN
    if known := _KINDS.get(element_type):
        return known
    return next((kind for family, kind in _FAMILY_KINDS.items() if element_type.endswith(family)), UNKNOWN)


# --- what comes in --------------------------------------------------------------------------------

Moment = Any
"""A datetime, or microseconds since 1970: within one analysis all of them are the same."""


class Stays(NamedTuple):
    """What is read of some tokens of an instance, column by column.

    ``wanted`` says which of them were asked for; None stands for all. The others are there to tell when a
    parent ended. ``duration_ms`` is what was given; ``finished`` is None for tokens that are live.
    """

    token_id: Sequence[str]
    parent: Sequence[str | None]
    element_id: Sequence[str]
    element_type: Sequence[str | None]
    element_name: Sequence[str | None]
    worker_id: Sequence[str | None]
    state: Sequence[str]
    created: Sequence[Moment | None]
    finished: Sequence[Moment | None]
    duration_ms: Sequence[float | None]
    retries_used: Sequence[int | None]
    wanted: Sequence[Any] | None = None


DIMENSIONS = ("element", "type", "worker", "process")
"""What visits can be grouped by."""

_FIELDS = {"element": 2, "type": 3, "worker": 5}
CHUNK = 20_000
"""How many tokens an engine puts into one Stays."""

_LAST = 1 << 63  # later than any time
_INFINITE = math.inf
_INTEGERS: tuple[Any, Any] = (0, 1)
_DATETIMES: tuple[Any, Any] = (EPOCH, timedelta(microseconds=1))


def _clock(*columns: Sequence[Moment | None]) -> tuple[Any, Any] | None:
    """The beginning of time and a microsecond, in the kind that the moments are of; None without any."""
    for moment in chain(*columns):
        if moment is not None:
            return _DATETIMES if isinstance(moment, datetime) else _INTEGERS
    return None


class _Pile:
    """The visits that have one key: their durations, and what there is beside them."""

    __slots__ = ("derived", "durations", "negative", "others", "unmeasured", "waited")

    def __init__(self, nothing: Any) -> None:
        self.durations = array("d")
        self.derived = self.negative = self.unmeasured = 0
        self.waited = nothing  # between the moments that have come, in their own kind
        self.others: Counter[str] = Counter()

    @property
    def completed(self) -> int:
        return len(self.durations) + self.negative + self.unmeasured


# --- what comes out -------------------------------------------------------------------------------


class Sample(Struct, frozen=True):
    """A single visit, to be named: the fastest or the slowest."""

    instance_id: str
    process_id: str | None
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    worker_id: str | None
    state: str
    created: int | None
    finished: int | None
    retries_used: int | None
    duration_ms: float
    derived: bool


class Division(Struct, frozen=True, kw_only=True):
    """Where the time went, in ms; ``between`` is part of ``waiting``, ``scope`` is no part of the division."""

    processing: float = 0.0
    waiting: float = 0.0
    overhead: float = 0.0
    unknown: float = 0.0
    between: float = 0.0
    scope: float = 0.0

    @property
    def total(self) -> float:
        """What the parts add up to."""
        return self.processing + self.waiting + self.overhead + self.unknown


class Comparison(Struct, frozen=True, kw_only=True):
    """A group beside the same group of the base; see ``compare``.

    ``verdict`` is slower, faster, same, or few where one side has too few visits to tell; new where the
    base has none of them. ``effect`` is Cliff's delta, positive for slower; times in ms.
    """

    verdict: str
    base: Figures = NONE
    change: float | None = None
    effect: float | None = None
    p_value: float | None = None


class Group(Struct, frozen=True, kw_only=True):
    """The visits that belong together, and their figures.

    Of ``process_id``, ``element_id`` and so on, those are set that visits were grouped by. ``kind`` is
    the kind of their time, where they all have the same. ``share`` is their part of all durations, those
    of what holds others apart.
    ``derived`` of the durations come from time stamps; ``negative`` ones contradict themselves and
    ``unmeasured`` ones have no times: neither are among the figures. ``waited`` (ms) passed between the
    end of a parent and their beginning. ``states`` counts those that are not COMPLETED.
    """

    key: tuple[str | None, ...]
    process_id: str | None = None
    element_id: str | None = None
    element_type: str | None = None
    element_name: str | None = None
    worker_id: str | None = None
    kind: str | None = None
    visits: int = 0
    completed: int = 0
    live: int = 0
    states: dict[str, int] = {}
    figures: Figures = NONE
    share: float | None = None
    derived: int = 0
    negative: int = 0
    unmeasured: int = 0
    waited: float = 0.0
    comparison: Comparison | None = None


class Throughput:
    """Counts how many visits ended, in equal stretches of time.

    The stretches are as short as it takes for all to fit in MOST of them, begin at multiples of their
    width since 1970, and follow from the first and last end alone.
    """

    MOST = 48

    def __init__(self) -> None:
        self._step = 0
        self._counts: Counter[int] = Counter()

    def add(self, ends: list[Moment]) -> None:
        """Count ends; the list gets sorted."""
        if not ends:
            return
        ends.sort()
        zero, micro = _clock(ends) or _INTEGERS
        first, last = (ends[0] - zero) // micro, (ends[-1] - zero) // micro
        low, high = first, last
        if self._counts:
            low = min(low, min(self._counts) * self.width)
            high = max(high, max(self._counts) * self.width)
        before = self.width
        while high // self.width - low // self.width >= self.MOST:
            self._step += 1
        if before != self.width:
            finer, factor = self._counts, self.width // before
            self._counts = Counter()
            for bucket, count in finer.items():
                self._counts[bucket // factor] += count
        place, bucket = 0, first // self.width
        while bucket < last // self.width:
            behind = bisect_left(ends, zero + (bucket + 1) * self.width * micro, place)
            self._counts[bucket] += behind - place
            place, bucket = behind, bucket + 1
        self._counts[bucket] += len(ends) - place

    @property
    def width(self) -> int:
        """How long a stretch is, in microseconds."""
        return _WIDTHS[self._step]

    def buckets(self) -> list[tuple[int, int]]:
        """(beginning in microseconds since 1970, how many) of each stretch, in order, without a gap."""
        if not self._counts:
            return []
        return [(n * self.width, self._counts[n]) for n in range(min(self._counts), max(self._counts) + 1)]


_DAY = 86_400_000_000
_WIDTHS: tuple[int, ...] = (
    *(n * 1000 for n in (1, 5, 10, 50, 100, 500)),
    *(n * 1_000_000 for n in (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200)),
    *(n * 10**power * _DAY for power in range(6) for n in ((1, 2) if not power else (1, 5))),
)
"""Each goes into the next without remainder, so that what has been counted can be counted together."""


# --- collecting -----------------------------------------------------------------------------------


class Performance:
    """Collects visits, an instance at a time, and works out what they come to.

    The order in which instances and visits come leaves no trace in the result. Memory: 8 bytes for each
    duration, and while an instance is read, the ends of its tokens.
    """

    def __init__(self, by: Sequence[str] = ("element",)) -> None:
        self.by = tuple(by)
        self._fields = [_FIELDS[one] for one in self.by if one in _FIELDS]
        if "element" in self.by:
            self._fields.append(Stays._fields.index("element_name"))
        self._apart = "process" in self.by or "element" in self.by
        self._piles: dict[str | None, dict[tuple[Any, ...], _Pile]] = {}
        self._retries: Counter[int | None] = Counter()
        self.finished = Throughput()
        self._clock: tuple[Any, Any] | None = None
        self.instances = 0
        self.processes: Counter[str | None] = Counter()
        self.first: int | None = None
        self.last: int | None = None
        self.fastest: Sample | None = None
        """The visit that took least; of several the one that began first."""
        self.slowest: Sample | None = None
        """The visit that took longest; of several the one that began first."""

    def add(self, instance_id: str, process_id: str | None, stays: Iterable[Stays]) -> None:
        """Add the visits of an instance, all of them at once."""
        piles = self._piles.setdefault(process_id if self._apart else None, {})
        ends: dict[str | None, Moment | None] = {}
        later: list[tuple[str, Moment, _Pile]] = []  # tokens that came before their parents
        found = False
        for chunk in stays:
            ends.update(zip(chunk.token_id, chunk.finished, strict=True))
            some = chunk if chunk.wanted is None else _select(chunk, chunk.wanted)
            if not some.token_id:
                continue
            found = True
            if self._clock is None:
                self._set_clock(_clock(some.created, some.finished))
            keys = list(zip(some.element_type, *(some[field] for field in self._fields), strict=True))
            for key in set(keys) - piles.keys():
                piles[key] = _Pile(self._unit * 0)
            mine = list(map(piles.__getitem__, keys))
            for pile, parent, begun, end in zip(
                mine, some.parent, some.created, map(ends.get, some.parent), strict=True
            ):
                if end is None:
                    if parent is not None and begun is not None:
                        later.append((parent, begun, pile))
                elif begun is not None and begun > end:
                    pile.waited += begun - end
            self._measure(mine, some, instance_id, process_id)
        for parent, begun, pile in later:
            end = ends.get(parent)
            if end is not None and begun > end:
                pile.waited += begun - end
        if found:
            self.instances += 1
            self.processes[process_id] += 1

    def _measure(self, piles: list[_Pile], stays: Stays, instance_id: str, process_id: str | None) -> None:
        """Put durations on their piles, and count what has none."""
        began, ended = _known(stays.created), _known(stays.finished)
        first = self._micros(min(began, default=None))
        self.first = _least(self.first, first)
        self.finished.add(ended)  # which sorts them
        if ended and (self.last is None or self.last < cast("int", self._micros(ended[-1]))):
            self.last = self._micros(ended[-1])

        places: Sequence[int] = range(len(piles))
        took: Sequence[Any] = stays.duration_ms
        retries: Iterable[int | None] = stays.retries_used
        done = [state == COMPLETED for state in stays.state]
        if not all(done):
            for pile, state, over in zip(piles, stays.state, done, strict=True):
                if not over:
                    pile.others[state] += 1
            piles, took, places = list(compress(piles, done)), list(compress(took, done)), list(compress(places, done))
            retries = compress(retries, done)
        self._retries.update(retries)
        if None in took or not math.isfinite(sum(took)):
            piles, took, places = self._derive(piles, took, places, stays)
        elif took and min(took) < 0:
            piles, took, places = _sort_out(piles, took, places)
        if not took:
            return
        for pile, time in zip(piles, took, strict=True):
            pile.durations.append(time)
        least, most = min(took), max(took)
        if _may_win(least, first, self.fastest, least < self.fastest.duration_ms if self.fastest else True):
            self.fastest = self._first(self.fastest, least, took, places, stays, instance_id, process_id)
        if _may_win(most, first, self.slowest, most > self.slowest.duration_ms if self.slowest else True):
            self.slowest = self._first(self.slowest, most, took, places, stays, instance_id, process_id)

    def _derive(
        self, piles: list[_Pile], took: Sequence[float | None], places: Sequence[int], stays: Stays
    ) -> tuple[list[_Pile], list[Any], Sequence[int]]:
        """Work out from time stamps what was not given; leave out what cannot be known or cannot be."""
        ms = 1000 * self._unit
        created, finished = stays.created, stays.finished
        derived: list[float | None] = []
        for pile, given, place in zip(piles, took, places, strict=True):
            if given is not None and -_INFINITE < given < _INFINITE:
                derived.append(given)
                continue
            begun, end = created[place], finished[place]
            if begun is None or end is None:
                derived.append(None)
            else:
                derived.append((end - begun) / ms)
                pile.derived += end >= begun
        return _sort_out(piles, derived, places)

    def _first(
        self,
        best: Sample | None,
        time: float,
        took: Sequence[float],
        places: Sequence[int],
        stays: Stays,
        instance_id: str,
        process_id: str | None,
    ) -> Sample:
        """The first that began, of the visits that took so long and the best so far."""
        same = [place for place, other in zip(places, took, strict=True) if other == time]
        begun = min(_known([stays.created[place] for place in same]), default=None)
        place = min((place for place in same if stays.created[place] == begun), key=stays.token_id.__getitem__)
        given = stays.duration_ms[place]
        sample = Sample(
            instance_id=instance_id,
            process_id=process_id,
            token_id=stays.token_id[place],
            element_id=stays.element_id[place],
            element_type=stays.element_type[place],
            element_name=stays.element_name[place],
            worker_id=stays.worker_id[place],
            state=stays.state[place],
            created=self._micros(begun),
            finished=self._micros(stays.finished[place]),
            retries_used=stays.retries_used[place],
            duration_ms=time,
            derived=given is None or not math.isfinite(given),
        )
        if best is None or best.duration_ms != time:
            return sample
        return min(best, sample, key=lambda s: (_LAST if s.created is None else s.created, s.instance_id, s.token_id))

    def _set_clock(self, clock: tuple[Any, Any] | None) -> None:
        self._clock = clock
        for _, pile in self._all():  # of visits without times
            pile.waited = self._unit * 0

    @property
    def _unit(self) -> Any:
        return self._clock[1] if self._clock else 1

    def _micros(self, moment: Moment | None) -> int | None:
        """A moment, or a length of time from the beginning of time, in microseconds."""
        if moment is None or self._clock is None:
            return None
        zero, micro = self._clock
        return cast("int", (moment - zero) // micro)

    # --- results ---

    @property
    def retries(self) -> dict[int, int]:
        """How many COMPLETED visits took so many retries."""
        known = Counter({used: count for used, count in self._retries.items() if used})
        none = self._retries[None] + self._retries[0]
        return dict(sorted((known + Counter({0: none})).items()))

    @property
    def untold_retries(self) -> int:
        """How many COMPLETED visits do not say; the document counts them among those without any."""
        return self._retries[None]

    def counts(self) -> Iterable[tuple[str, str | None, int]]:
        """(state, element type, count) of all visits, for ``model.summarize``."""
        for (kind, *_), pile in self._all():
            if pile.completed:
                yield COMPLETED, kind, pile.completed
            for state, count in pile.others.items():
                yield state, kind, count

    def _all(self) -> Iterable[tuple[tuple[Any, ...], _Pile]]:
        return chain.from_iterable(piles.items() for piles in self._piles.values())

    def division(self) -> Division:
        """Where the time went."""
        spent: dict[str, list[float]] = {}
        for (kind, *_), pile in self._all():
            spent.setdefault(kind_of_time(kind), []).append(exact_sum(pile.durations))
        sums = {kind: exact_sum(sorted(parts)) for kind, parts in spent.items()}
        between = sum(pile.waited // self._unit for _, pile in self._all()) / 1000
        return Division(**sums | {WAITING: sums.get(WAITING, 0.0) + between, "between": between})

    def keyed(self) -> dict[tuple[str | None, ...], list[tuple[str | None, str | None, _Pile]]]:
        """(element type, name, visits) of each group, by its key: the process, and a value for each of ``by``."""
        keyed: dict[tuple[str | None, ...], list[tuple[str | None, str | None, _Pile]]] = {}
        for process, piles in self._piles.items():
            for (kind, *values), pile in piles.items():
                name = values.pop() if "element" in self.by else None
                keyed.setdefault((process, *values), []).append((kind, name, pile))
        return keyed

    def durations(self, key: tuple[str | None, ...]) -> array[float]:
        """All durations of a group, in no order."""
        merged = array("d")
        for *_, pile in self.keyed().get(key, ()):
            merged.extend(pile.durations)
        return merged

    def groups(self) -> list[Group]:
        """The groups, the one with the longest total first."""
        keyed = self.keyed()
        groups = [self._group(key, parts) for key, parts in keyed.items()]
        groups.sort(key=lambda g: (-g.figures.total, -g.visits, [(k is not None, k or "") for k in g.key]))
        totals = [_without_scopes(group, keyed[group.key]) for group in groups]
        whole = exact_sum(sorted(totals))
        return [
            replace(group, share=total / whole if whole and group.kind != SCOPE else None)
            for group, total in zip(groups, totals, strict=True)
        ]

    @property
    def mean(self) -> float | None:
        """The average of all durations (ms); None without any."""
        total, count = self.figures()
        if self.fastest is None or self.slowest is None:
            return None
        return min(max(total / count, self.fastest.duration_ms), self.slowest.duration_ms)  # whatever rounding does

    def figures(self) -> tuple[float, int]:
        """The total (ms) and number of all durations."""
        return (
            exact_sum(sorted(exact_sum(pile.durations) for _, pile in self._all())),
            sum(len(pile.durations) for _, pile in self._all()),
        )

    def total(self, name: str) -> int:
        """How many of all visits are ``derived``, ``negative`` or ``unmeasured``."""
        return sum(getattr(pile, name) for _, pile in self._all())

    def _group(self, key: tuple[str | None, ...], parts: list[tuple[str | None, str | None, _Pile]]) -> Group:
        values = dict(zip((one for one in self.by if one in _FIELDS), key[1:], strict=True))
        states: Counter[str] = Counter()
        kinds: Counter[str | None] = Counter()
        for kind, _, pile in parts:
            states.update(pile.others)
            kinds[kind] += pile.completed + pile.others.total()
        completed = sum(pile.completed for *_, pile in parts)
        often = max(kinds, key=lambda kind: (kind is not None, kinds[kind], kind or ""))
        times = {kind_of_time(kind) for kind in kinds}
        return Group(
            key=key,
            process_id=key[0],
            element_id=values.get("element"),
            element_type=values.get("type", often if "element" in values else None),
            element_name=min((name for _, name, _ in parts if name), default=None),
            worker_id=values.get("worker"),
            kind=times.pop() if len(times) == 1 else None,
            visits=completed + states.total(),
            completed=completed,
            live=sum(n for state, n in states.items() if state not in FINAL_STATES),
            states=dict(sorted(states.items())),
            figures=figures(chain.from_iterable(pile.durations for *_, pile in parts)),
            derived=sum(pile.derived for *_, pile in parts),
            negative=sum(pile.negative for *_, pile in parts),
            unmeasured=sum(pile.unmeasured for *_, pile in parts),
            waited=sum(pile.waited // self._unit for *_, pile in parts) / 1000,
        )


def _without_scopes(group: Group, parts: list[tuple[str | None, str | None, _Pile]]) -> float:
    """The total of a group without the time of what holds others, which counts where these are."""
    if group.kind is not None:
        return 0.0 if group.kind == SCOPE else group.figures.total
    piles = (pile for kind, _, pile in parts if kind_of_time(kind) != SCOPE)
    return exact_sum(sorted(chain.from_iterable(pile.durations for pile in piles)))


def _select(stays: Stays, wanted: Sequence[Any]) -> Stays:
    columns: list[Any] = [list(compress(column, wanted)) for column in stays[:-1]]
    return Stays(*columns)


def _sort_out(
    piles: list[_Pile], took: Sequence[float | None], places: Sequence[int]
) -> tuple[list[_Pile], list[Any], Sequence[int]]:
    """Leave out, and count, the visits that nobody measured and those that ended before they began."""
    good = [time is not None and time >= 0 for time in took]
    for pile, time in zip(piles, took, strict=True):
        if time is None:
            pile.unmeasured += 1
        elif time < 0:
            pile.negative += 1
    return list(compress(piles, good)), list(compress(took, good)), list(compress(places, good))


def _known(moments: Sequence[Moment | None]) -> list[Moment]:
    return [moment for moment in moments if moment is not None] if None in moments else list(moments)


def _least(one: int | None, other: int | None) -> int | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _may_win(time: float, first: int | None, best: Sample | None, better: bool) -> bool:
    """Whether one of the visits, of which the first began then, may take the place of the best so far."""
    if best is None or better:
        return True
    return time == best.duration_ms and (best.created is None or (first is not None and first <= best.created))
