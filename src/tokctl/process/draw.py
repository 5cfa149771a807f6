"""The lines of a drawn forest: prefixes, folding into counts, the limit of depth, the filter.

A process instance is mostly a sequence, so an only child stands straight below its parent, at the
same indent; only a split indents. Lines are made one by one as they are asked for. What a line says
and in which colours is the renderer's business.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from tokctl.process import fold
from tokctl.process.forest import NO_TIME, Forest, Groups, TreeRow, top_down
from tokctl.process.model import is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

MAX_COLUMNS = 24
"""Levels of indent that a prefix shows; the middle of a deeper one is left out."""

_WIDTH = 3  # of a column
_MAX_STEM = _WIDTH * (MAX_COLUMNS - 1)
_HEAD = _WIDTH * (MAX_COLUMNS // 2)


class Signs(NamedTuple):
    """What prefixes are made of; each three columns wide."""

    branch: str
    last_branch: str
    bar: str
    blank: str
    elided: str


UNICODE = Signs("├─ ", "└─ ", "│  ", "   ", "⋯  ")
ASCII = Signs("|- ", "`- ", "|  ", "   ", "~  ")


class Loop(NamedTuple):
    """A line's place in a loop: its step (from 0), the steps of a pass, and the passes."""

    step: int
    steps: int
    passes: int


class Durations(Struct, frozen=True):
    """Durations (ms) of the tokens behind a line: how many are known, and their range and sum.

    ``derived`` tells whether any of them was computed from times.
    """

    known: int
    min_ms: float
    max_ms: float
    total_ms: float
    derived: bool = False


class TreeLine(Struct, frozen=True, kw_only=True):
    """A line of the tree: one token, or ``count`` equal ones, of which ``token`` is the first.

    ``level`` counts indents, ``depth`` the tokens above. ``joins`` are the ids of further parents,
    ``anomalies`` kinds of contradiction; of a folded line, both are those of its first token.
    ``durations`` is None for one token (it has its own) and where none is known, and so is
    ``created_us``, the first and the last time of creation. ``context`` marks a line that matches no
    filter and only leads to one that does.
    """

    prefix: str
    level: int
    depth: int
    token: TreeRow
    parent_id: str | None
    linked_by: str | None
    joins: tuple[str, ...]
    anomalies: tuple[str, ...]
    count: int = 1
    last_token_id: str
    loop: Loop | None = None
    durations: Durations | None = None
    created_us: tuple[int, int] | None = None
    context: bool = False


class HiddenLine(Struct, frozen=True, kw_only=True):
    """A line in place of what lies below the limit of depth: how many tokens, and in which states."""

    prefix: str
    level: int
    depth: int
    count: int
    states: dict[str, int]

    @property
    def live(self) -> int:
        """How many of the hidden tokens have not come to their end."""
        return sum(count for state, count in self.states.items() if not is_final(state))


def draw(
    forest: Forest,
    *,
    expand: bool = False,
    depth: int | None = None,
    keep: Callable[[TreeRow], bool] | None = None,
    signs: Signs = UNICODE,
) -> Iterator[TreeLine | HiddenLine]:
    """Yield the lines of a forest from top to bottom.

    Equal sibling subtrees fold into one, where the first stands, and so do the passes of a loop; one
    whose passes split is drawn with the way that leads on as its last branch, and folds unless there
    is a limit of depth. ``expand`` draws every token by itself. Only equal elements in an equal state
    fold. ``depth`` is a number of levels as drawn: 1 shows the main sequence and hides what is
    indented. ``keep`` drops every token that neither matches nor leads to one that does. The counts
    of all lines add up to the tokens that are not dropped.

    Several roots are drawn as branches, so that they are told from a sequence.
    """
    return _Drawing(forest, expand=expand, depth=depth, keep=keep, signs=signs).lines()


class _Round(NamedTuple):
    """A loop whose passes split, as far as it is drawn: the tokens of all passes at one of its steps."""

    members: array[int]
    step: int
    steps: int
    depth: int  # of the first token of the loop


class _Frame:
    """Siblings that are still to be drawn: each a node, an array of equal ones, or a loop to go on with.

    With ``plain`` there is one, and it goes on with the sequence above.
    """

    __slots__ = ("depth", "groups", "last_depth", "level", "next", "plain", "stem")

    def __init__(
        self,
        groups: Sequence[int | array[int] | _Round],
        stem: str | None,
        level: int,
        depth: int,
        *,
        plain: bool = False,
        last_depth: int | None = None,
    ) -> None:
        self.groups, self.next, self.plain = groups, 0, plain
        self.stem = stem  # what stands before the branch signs; None for a single root, which has none
        self.level, self.depth = level, depth
        self.last_depth = depth if last_depth is None else last_depth  # of the last one, behind a loop


class _Tally:
    """The tokens behind one line."""

    __slots__ = ("count", "created", "derived", "first", "known", "last", "longest", "shortest", "total")

    def __init__(self, first: int) -> None:
        self.first = self.last = first
        self.count = self.known = 0
        self.shortest = self.longest = self.total = 0.0
        self.created: tuple[int, int] | None = None
        self.derived = False

    def add(self, forest: Forest, members: Sequence[int]) -> None:
        self.count += len(members)
        self.last = members[-1]
        for member in members:
            created = forest.created[member]
            if created != NO_TIME:
                if self.created is None:
                    self.created = (created, created)
                elif created > self.created[1]:  # mostly: they come in this order
                    self.created = (self.created[0], created)
                elif created < self.created[0]:
                    self.created = (created, self.created[1])
            ms = forest.duration_ms(member)
            if ms is not None:
                self.shortest = ms if not self.known else min(self.shortest, ms)
                self.longest = ms if not self.known else max(self.longest, ms)
                self.total += ms
                self.known += 1
                self.derived = self.derived or not math.isfinite(forest.durations[member])

    def durations(self) -> Durations | None:
        if self.count == 1 or not self.known:
            return None
        return Durations(self.known, self.shortest, self.longest, self.total, self.derived)


class _Drawing:
    def __init__(
        self,
        forest: Forest,
        *,
        expand: bool,
        depth: int | None,
        keep: Callable[[TreeRow], bool] | None,
        signs: Signs,
    ) -> None:
        self.forest, self.signs, self.limit = forest, signs, depth
        self.children = forest.children
        self.context: bytearray | None = None
        if keep is not None:
            self._filter(keep)
        self.codes: array[int] | None = None
        self.rounds: dict[int, tuple[int, int]] = {}
        if not expand:
            self.codes = fold.labels(forest, self.context)
            self.shapes = fold.shapes(self.codes, self.children)
            if depth is None:  # else what is hidden below a pass would be the next pass
                self.rounds, self.heirs = fold.rounds(self.codes, self.shapes, self.children)

    def _filter(self, keep: Callable[[TreeRow], bool]) -> None:
        forest, size = self.forest, self.forest.size
        matches = bytearray(bool(keep(forest.row(node))) for node in range(size))
        kept = matches[:]
        kept.append(0)  # the roots' parent
        for node in reversed(top_down(forest.children, size)):
            if kept[node]:
                kept[forest.parents[node]] = 1
        nodes = array("i", (node for node in self.children.items if kept[node]))
        self.children = Groups.by(array("i", (forest.parents[node] for node in nodes)), nodes, size + 1)
        self.context = bytearray(not match for match in matches)

    def lines(self) -> Iterator[TreeLine | HiddenLine]:
        forest, signs, starts = self.forest, self.signs, self.children.starts
        outside = (forest.size,)
        roots = self._siblings(outside)
        if not roots:
            return
        if self.limit is not None and self.limit <= 0:
            yield self._hidden(outside, "", 0, 0)
            return
        stack = [_Frame(roots, "" if len(roots) > 1 else None, 0, 0)]
        while stack:
            frame = stack[-1]
            group = frame.groups[frame.next]
            frame.next += 1
            level, depth = frame.level, frame.depth
            first, stem = self._signs_of(frame)
            if frame.next == len(frame.groups):
                depth = frame.last_depth
                stack.pop()

            if isinstance(group, int) and group in self.rounds:
                group = self._begin(group, depth)
            if isinstance(group, _Round):
                stack.append((yield from self._round(group, first, stem, level)))
                if not stack[-1].groups:
                    stack.pop()
                continue
            if isinstance(group, int) and starts[group + 1] - starts[group] != 1:
                yield self._line(group, first, level, depth)  # most lines, by the shortest way
                tail: Sequence[int] = (group,)
                depth += 1
            else:
                members = (group,) if isinstance(group, int) else group
                tail, length = yield from self._sequence(members, first, stem, level, depth)
                depth += length
            following = starts[tail[0] + 1] - starts[tail[0]]
            if not following:
                continue
            if following == 1:  # a loop begins here
                stack.append(_Frame(self._siblings(tail), stem, level, depth, plain=True))
                continue
            stem = self._bounded(stem)
            if self.limit is not None and level + 1 >= self.limit:
                yield self._hidden(tail, stem + signs.last_branch, level + 1, depth)
            else:
                stack.append(_Frame(self._siblings(tail), stem, level + 1, depth))

    def _signs_of(self, frame: _Frame) -> tuple[str, str]:
        """Return what stands before the first line of the group just taken, and before the others."""
        stem = frame.stem or ""
        if frame.stem is None or frame.plain:
            return stem, stem
        if frame.next == len(frame.groups):
            return stem + self.signs.last_branch, stem + self.signs.blank
        return stem + self.signs.branch, stem + self.signs.bar

    def _bounded(self, stem: str) -> str:
        if len(stem) <= _MAX_STEM:
            return stem
        return stem[:_HEAD] + self.signs.elided + stem[_HEAD + _WIDTH - _MAX_STEM :]

    def _begin(self, node: int, depth: int) -> _Round:
        """Return a loop at its first step."""
        steps, passes = self.rounds[node]
        members = array("i")
        for position in range(steps * passes):
            if position % steps == 0:
                members.append(node)
            node = self.heirs[node]
        return _Round(members, 0, steps, depth)

    def _round(self, loop: _Round, first: str, stem: str, level: int) -> Generator[TreeLine, None, _Frame]:
        """Draw the steps of a loop up to where it splits or ends; return what comes next."""
        starts = self.children.starts
        members, step, prefix = loop.members, loop.step, first
        while True:
            tally = _Tally(members[0])
            tally.add(self.forest, members)
            place = Loop(step, loop.steps, len(members))
            yield self._line(members[0], prefix, level, loop.depth + step, tally, place)
            prefix, step = stem, step + 1
            splits = starts[members[0] + 1] - starts[members[0]] > 1
            if splits or step == loop.steps:
                break
            members = array("i", (self.heirs[member] for member in members))
        after = loop.depth + loop.steps * len(members)
        on = self.heirs[members[-1]]
        if not splits:
            return _Frame([on] if on >= 0 else [], stem, level, after, plain=True)
        heirs = array("i", (self.heirs[member] for member in members))
        groups: list[int | array[int] | _Round] = [*self._siblings(members, without=frozenset(heirs))]
        ended = step == loop.steps
        groups.append(on if ended else _Round(heirs, step, loop.steps, loop.depth))
        return _Frame(groups, self._bounded(stem), level + 1, loop.depth + step, last_depth=after if ended else None)

    def _siblings(self, parents: Sequence[int], without: frozenset[int] = frozenset()) -> Sequence[int | array[int]]:
        """Return the children of equal parents, equal ones put together."""
        starts, items = self.children
        if self.codes is None:
            return self.children.of(parents[0])
        groups: dict[int, int | array[int]] = {}
        for parent in parents:
            for position in range(starts[parent], starts[parent + 1]):
                node = items[position]
                if node in without:
                    continue
                shape = self.shapes[node]
                group = groups.get(shape)
                if group is None:
                    groups[shape] = node
                elif isinstance(group, int):
                    groups[shape] = array("i", (group, node))
                else:
                    group.append(node)
        return list(groups.values())

    def _sequence(
        self, members: Sequence[int], first: str, stem: str, level: int, depth: int
    ) -> Generator[TreeLine, None, tuple[Sequence[int], int]]:
        """Draw equal tokens and what follows each as an only child; return the last, and how many."""
        chain = self._chain(members[0], whole=len(members) > 1)
        prefix, position = first, 0
        for steps, passes in self._runs(chain):
            if passes == 1 and len(members) == 1:
                members = chain[position : position + 1]
                yield self._line(members[0], prefix, level, depth + position)
                prefix, position = stem, position + 1
                continue
            tallies = [_Tally(node) for node in chain[position : position + steps]]
            start = position
            for _ in range(passes):
                for tally in tallies:
                    if position:
                        members = self._next(members)
                    tally.add(self.forest, members)
                    position += 1
            for step, tally in enumerate(tallies):
                loop = Loop(step, steps, passes) if passes > 1 else None
                yield self._line(tally.first, prefix, level, depth + start + step, tally, loop)
                prefix = stem
        return members, len(chain)

    def _chain(self, node: int, *, whole: bool) -> array[int]:
        """Return a token and what follows it as an only child, up to where a loop begins that splits."""
        starts, items = self.children
        chain = array("i", (node,))
        while starts[node + 1] - starts[node] == 1:
            node = items[starts[node]]
            if node in self.rounds and not whole:
                break
            chain.append(node)
        return chain

    def _next(self, members: Sequence[int]) -> Sequence[int]:
        starts, items = self.children
        if len(members) == 1:
            return (items[starts[members[0]]],)
        return array("i", (items[starts[member]] for member in members))

    def _runs(self, chain: array[int]) -> Iterator[tuple[int, int]]:
        if self.codes is None or len(chain) == 1:
            return repeat((1, 1), len(chain))
        starts, codes = self.children.starts, array("i", (self.codes[node] for node in chain))
        if starts[chain[-1] + 1] - starts[chain[-1]] > 1:
            codes[-1] = -1  # what splits is no part of a loop: its branches hang on it alone
        return fold.loops(codes)

    def _line(
        self,
        node: int,
        prefix: str,
        level: int,
        depth: int,
        tally: _Tally | None = None,
        loop: Loop | None = None,
    ) -> TreeLine:
        forest = self.forest
        return TreeLine(
            prefix=prefix,
            level=level,
            depth=depth,
            token=forest.row(node),
            parent_id=forest.parent_id(node),
            linked_by=forest.linked_by(node),
            joins=forest.join_ids(node),
            anomalies=forest.kinds(node),
            count=tally.count if tally else 1,
            last_token_id=forest.ids[tally.last if tally else node],
            loop=loop,
            durations=tally.durations() if tally else None,
            created_us=tally.created if tally and tally.count > 1 else None,
            context=self.context is not None and bool(self.context[node]),
        )

    def _hidden(self, parents: Sequence[int], prefix: str, level: int, depth: int) -> HiddenLine:
        starts, items = self.children
        states: Counter[str] = Counter()
        below = array("i", parents)
        while below:
            node = below.pop()
            children = items[starts[node] : starts[node + 1]]
            states.update(map(self.forest.state, children))
            below.extend(children)
        return HiddenLine(prefix=prefix, level=level, depth=depth, count=states.total(), states=dict(states))
