"""The lines of a drawn forest: prefixes, folding into counts, the limit of depth, the filter.

A process instance is mostly a sequence, so an only child stands straight below its parent, at the
same indent; only a split indents. Lines are made one by one as they are asked for. What a line says
and in which colours is the renderer's business.
"""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from tokctl.process import fold
from tokctl.process.model import is_final
from tokctl.process.tree import Forest, Groups, TreeRow

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

MAX_COLUMNS = 24
"""Levels of indent that a prefix shows; the middle of a deeper one is left out."""


class Signs(NamedTuple):
    """What prefixes are made of; each is as wide as the others."""

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
    """Durations (ms) of the tokens behind a line: how many are known, and their range and sum."""

    known: int
    min_ms: float
    max_ms: float
    total_ms: float


class TreeLine(Struct, frozen=True, kw_only=True):
    """A line of the tree: one token, or ``count`` equal ones, of which ``token`` is the first.

    ``level`` counts indents, ``depth`` the tokens above. ``joins`` are the ids of further parents,
    ``anomalies`` kinds of contradiction; of a folded line, both are those of its first token.
    ``durations`` is None for one token (it has its own) and where none is known. ``context`` marks
    a line that matches no filter and only leads to one that does.
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

    Equal sibling subtrees fold into one, where the first stands, and so do the passes of a loop
    along a sequence; ``expand`` draws every token by itself. Only equal elements in an equal state
    fold. ``depth`` is a number of levels as drawn: 1 shows the main sequence and hides what is
    indented. ``keep`` drops every token that neither matches nor leads to one that does. The counts
    of all lines add up to the tokens that are not dropped.

    Several roots are drawn as branches, so that they are told from a sequence.
    """
    return _Drawing(forest, expand=expand, depth=depth, keep=keep, signs=signs).lines()


class _Frame:
    """Siblings that are still to be drawn: each a node, or an array of equal ones."""

    __slots__ = ("depth", "groups", "level", "next")

    def __init__(self, groups: Sequence[int | array[int]], level: int, depth: int) -> None:
        self.groups, self.level, self.depth, self.next = groups, level, depth, 0


class _Tally:
    """The tokens behind one line."""

    __slots__ = ("count", "first", "known", "last", "longest", "shortest", "total")

    def __init__(self, first: int) -> None:
        self.first = self.last = first
        self.count = self.known = 0
        self.shortest = self.longest = self.total = 0.0

    def add(self, forest: Forest, members: Sequence[int]) -> None:
        self.count += len(members)
        self.last = members[-1]
        for member in members:
            ms = forest.duration_ms(member)
            if ms is not None:
                self.shortest = ms if not self.known else min(self.shortest, ms)
                self.longest = ms if not self.known else max(self.longest, ms)
                self.total += ms
                self.known += 1

    def durations(self) -> Durations | None:
        if self.count == 1 or not self.known:
            return None
        return Durations(self.known, self.shortest, self.longest, self.total)


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
        if not expand:
            self.codes = fold.labels(forest, self.context)
            self.shapes = fold.shapes(self.codes, self.children)

    def _filter(self, keep: Callable[[TreeRow], bool]) -> None:
        forest, size = self.forest, self.forest.size
        matches = bytearray(bool(keep(forest.row(node))) for node in range(size))
        kept = matches[:]
        kept.append(0)  # the roots' parent
        for node in reversed(forest.top_down()):
            if kept[node]:
                kept[forest.parents[node]] = 1
        nodes = array("i", (node for node in self.children.items if kept[node]))
        self.children = Groups.by(array("i", (forest.parents[node] for node in nodes)), nodes, size + 1)
        self.context = bytearray(not match for match in matches)

    def lines(self) -> Iterator[TreeLine | HiddenLine]:
        size = self.forest.size
        roots = self._siblings((size,))
        if not roots:
            return
        base = 1 if len(roots) > 1 else 0
        if self.limit is not None and self.limit <= 0:
            yield self._hidden((size,), bytearray(), 0, 0)
            return
        stack = [_Frame(roots, 0, 0)]
        bars = bytearray()  # for each column of the prefix, whether it belongs to a last sibling
        while stack:
            frame = stack[-1]
            group = frame.groups[frame.next]
            frame.next += 1
            is_last = frame.next == len(frame.groups)
            if is_last:
                stack.pop()
            columns = frame.level + base
            del bars[max(columns - 1, 0) :]
            if columns:
                bars.append(is_last)
            members: Sequence[int] = (group,) if isinstance(group, int) else group
            tail, length = yield from self._sequence(members, frame.level, frame.depth, bars)
            below = self._siblings(tail)
            if not below:
                continue
            level, depth = frame.level + 1, frame.depth + length
            if self.limit is not None and level >= self.limit:
                yield self._hidden(tail, bars, level, depth)
            else:
                stack.append(_Frame(below, level, depth))

    def _siblings(self, parents: Sequence[int]) -> Sequence[int | array[int]]:
        """Return the children of equal parents, equal ones put together."""
        starts, items = self.children
        if self.codes is None:
            return self.children.of(parents[0])
        groups: dict[int, int | array[int]] = {}
        for parent in parents:
            for position in range(starts[parent], starts[parent + 1]):
                node = items[position]
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
        self, members: Sequence[int], level: int, depth: int, bars: bytearray
    ) -> Generator[TreeLine, None, tuple[Sequence[int], int]]:
        """Draw equal tokens and what follows each as an only child; return the last, and how many."""
        chain = self._chain(members[0])
        prefix = self._prefix(bars, continued=False)
        position = 0
        for steps, passes in self._runs(chain):
            tallies = [_Tally(node) for node in chain[position : position + steps]]
            for _ in range(passes):
                for tally in tallies:
                    if position:
                        members = self._next(members)
                    tally.add(self.forest, members)
                    position += 1
            start = position - steps * passes
            for step, tally in enumerate(tallies):
                loop = Loop(step, steps, passes) if passes > 1 else None
                yield self._line(tally, prefix, level, depth + start + step, loop)
                prefix = self._prefix(bars, continued=True)
        return members, len(chain)

    def _chain(self, node: int) -> array[int]:
        starts, items = self.children
        chain = array("i", (node,))
        while starts[node + 1] - starts[node] == 1:
            node = items[starts[node]]
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
        if starts[chain[-1]] < starts[chain[-1] + 1]:
            codes[-1] = -1  # what splits is no part of a loop: its branches hang on it alone
        return fold.loops(codes)

    def _line(self, tally: _Tally, prefix: str, level: int, depth: int, loop: Loop | None) -> TreeLine:
        forest, node = self.forest, tally.first
        return TreeLine(
            prefix=prefix,
            level=level,
            depth=depth,
            token=forest.row(node),
            parent_id=forest.parent_id(node),
            linked_by=forest.linked_by(node),
            joins=forest.join_ids(node),
            anomalies=forest.kinds(node),
            count=tally.count,
            last_token_id=forest.ids[tally.last],
            loop=loop,
            durations=tally.durations(),
            context=bool(self.context and self.context[node]),
        )

    def _hidden(self, parents: Sequence[int], bars: bytearray, level: int, depth: int) -> HiddenLine:
        starts, items = self.children
        states: Counter[str] = Counter()
        below = array("i", parents)
        while below:
            node = below.pop()
            children = items[starts[node] : starts[node + 1]]
            states.update(map(self.forest.state, children))
            below.extend(children)
        prefix = self._prefix(bars + b"\x01", continued=False) if level else ""
        return HiddenLine(prefix=prefix, level=level, depth=depth, count=states.total(), states=dict(states))

    def _prefix(self, bars: bytearray, *, continued: bool) -> str:
        if not bars:
            return ""
        signs = self.signs
        above = [signs.blank if is_last else signs.bar for is_last in bars[:MAX_COLUMNS]]
        if len(bars) > MAX_COLUMNS:
            half = MAX_COLUMNS // 2
            inner = [signs.blank if is_last else signs.bar for is_last in bars[half - MAX_COLUMNS + 1 :]]
            above = [*above[:half], signs.elided, *inner]
        if not continued:
            above[-1] = signs.last_branch if bars[-1] else signs.branch
        return "".join(above)
