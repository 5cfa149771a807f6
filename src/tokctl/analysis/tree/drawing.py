"""The lines of a drawn forest: prefixes, folding into counts, the depth limit, and the filter.

A process instance is mostly a sequence, so an only child is on the line below its parent at the same indent; only a
split indents. Lines are built one by one, on demand. The renderer adds the text and colours of a line.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from tokctl.analysis.tree import folding as fold
from tokctl.analysis.tree.forest import NO_TIME, Forest, NodeLists, TreeRow, top_down
from tokctl.model.states import is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

MAX_INDENT_LEVELS = 24
"""The number of indents that a prefix shows; the middle of a deeper prefix is left out."""

_GLYPH_WIDTH = 3  # width of one indent
_MAX_STEM_WIDTH = _GLYPH_WIDTH * (MAX_INDENT_LEVELS - 1)
_KEPT_STEM_WIDTH = _GLYPH_WIDTH * (MAX_INDENT_LEVELS // 2)


class TreeGlyphs(NamedTuple):
    """The parts of prefixes; each is three columns wide."""

    branch: str
    last_branch: str
    bar: str
    blank: str
    elided: str


UNICODE = TreeGlyphs("├─ ", "└─ ", "│  ", "   ", "⋯  ")
ASCII = TreeGlyphs("|- ", "`- ", "|  ", "   ", "~  ")


class LoopPosition(NamedTuple):
    """The place of a line in a loop: its step (from 0), the steps of a pass, and the number of passes."""

    step: int
    steps: int
    passes: int


class DurationStats(Struct, frozen=True):
    """The durations (ms) of the tokens of a line: the number of known ones, their range and their sum.

    ``derived`` tells whether any of them was computed from timestamps.
    """

    known: int
    min_ms: float
    max_ms: float
    total_ms: float
    derived: bool = False


class TreeLine(Struct, frozen=True, kw_only=True):
    """A line of the tree: one token, or ``count`` equal ones; ``token`` is the first.

    ``level`` is the number of indents, ``depth`` the number of ancestors. ``joins`` are the ids of further parents, and
    ``anomalies`` the kinds of anomalies, those of the first token if the line is folded. ``durations``, and
    ``created_us``, the first and last time of creation, are None for a single token and if none are known. ``context``
    marks a line that does not match the filter, but leads to one that does.
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
    loop: LoopPosition | None = None
    durations: DurationStats | None = None
    created_us: tuple[int, int] | None = None
    context: bool = False


class HiddenLine(Struct, frozen=True, kw_only=True):
    """A line that replaces the tokens below the depth limit: their number, and their states."""

    prefix: str
    level: int
    depth: int
    count: int
    states: dict[str, int]

    @property
    def live(self) -> int:
        """The number of hidden tokens that have not ended."""
        return sum(count for state, count in self.states.items() if not is_final(state))


def draw_forest(
    forest: Forest,
    *,
    expand: bool = False,
    depth: int | None = None,
    predicate: Callable[[TreeRow], bool] | None = None,
    glyphs: TreeGlyphs = UNICODE,
) -> Iterator[TreeLine | HiddenLine]:
    """Yield the lines of a forest from top to bottom.

    Equal sibling subtrees are folded into the first one, and so are the passes of a loop. A loop whose passes split is
    drawn with its continuation as the last branch, and folded unless there is a depth limit. Several roots are drawn as
    branches, to distinguish them from a sequence. The counts of all lines add up to the number of tokens drawn.

    With ``expand`` every token has a line of its own. ``depth`` is the number of indent levels to draw, None for all; 1
    draws the main sequence only. ``predicate`` drops every token that neither matches nor leads to one that does.
    """
    return _Drawing(forest, depth, glyphs, predicate, expand=expand).lines()


class _BranchingLoop(NamedTuple):
    """A loop whose passes split, at one of its steps: the tokens of all passes at this step."""

    members: array[int]
    step: int
    steps: int
    depth: int  # of the first token of the loop


class _SiblingFrame:
    """Siblings that remain to be drawn: each is a node, an array of equal nodes, or a loop to be continued.

    With ``plain`` there is a single one, which continues the sequence above.
    """

    __slots__ = ("depth", "groups", "last_depth", "level", "next", "plain", "stem")

    def __init__(
        self,
        groups: Sequence[int | array[int] | _BranchingLoop],
        stem: str | None,
        level: int,
        depth: int,
        *,
        plain: bool = False,
        last_depth: int | None = None,
    ) -> None:
        self.groups, self.next, self.plain = groups, 0, plain
        self.stem = stem  # before the branch glyphs; None for a single root, which has none
        self.level, self.depth = level, depth
        self.last_depth = depth if last_depth is None else last_depth  # of the last sibling, which may follow a loop


class _LineTotals:
    """Totals of the tokens of one line."""

    __slots__ = ("count", "created", "derived", "first", "known", "last", "longest", "shortest", "total")

    def __init__(self, first: int) -> None:
        self.first = self.last = first
        self.count = self.known = 0
        self.shortest, self.longest, self.total = math.inf, -math.inf, 0.0
        self.created: tuple[int, int] | None = None
        self.derived = False

    def add(self, forest: Forest, members: Sequence[int]) -> None:
        self.count += len(members)
        self.last = members[-1]
        for member in members:
            created, ms = forest.created[member], forest.duration_ms(member)
            if created != NO_TIME:
                first, last = self.created or (created, created)
                self.created = (min(first, created), max(last, created))
            if ms is not None:
                self.shortest, self.longest = min(self.shortest, ms), max(self.longest, ms)
                self.total += ms
                self.known += 1
                self.derived = self.derived or not math.isfinite(forest.durations[member])

    def durations(self) -> DurationStats | None:
        if self.count == 1 or not self.known:
            return None
        return DurationStats(self.known, self.shortest, self.longest, self.total, self.derived)


class _Drawing:
    def __init__(
        self,
        forest: Forest,
        depth: int | None,
        glyphs: TreeGlyphs,
        predicate: Callable[[TreeRow], bool] | None,
        *,
        expand: bool,
    ) -> None:
        self.forest, self.glyphs, self.limit = forest, glyphs, depth
        self.children = forest.children
        self.context: bytearray | None = None
        if predicate is not None:
            self._filter(predicate)
        self.codes: array[int] | None = None
        self.branching_loops: dict[int, tuple[int, int]] = {}
        if not expand:
            self.codes = fold.number_labels(forest, self.context)
            self.shapes = fold.number_shapes(self.codes, self.children)
            if depth is None:  # with a limit, the next pass would be hidden below a pass
                self.branching_loops, self.main_children = fold.find_branching_loops(
                    self.codes, self.shapes, self.children
                )

    def _filter(self, predicate: Callable[[TreeRow], bool]) -> None:
        forest, size = self.forest, self.forest.size
        matches = bytearray(bool(predicate(forest.row(node))) for node in range(size))
        kept = matches[:]
        kept.append(0)  # the parent of the roots
        for node in reversed(top_down(forest.children, size)):
            if kept[node]:
                kept[forest.parents[node]] = 1
        nodes = array("i", (node for node in self.children.items if kept[node]))
        self.children = NodeLists.from_pairs(array("i", (forest.parents[node] for node in nodes)), nodes, size + 1)
        self.context = bytearray(not match for match in matches)

    def lines(self) -> Iterator[TreeLine | HiddenLine]:
        forest, glyphs, starts = self.forest, self.glyphs, self.children.starts
        outside = (forest.size,)
        roots = self._siblings(outside)
        if not roots:
            return
        if self.limit is not None and self.limit <= 0:
            yield self._hidden(outside, "", 0, 0)
            return
        stack = [_SiblingFrame(roots, "" if len(roots) > 1 else None, 0, 0)]
        while stack:
            frame = stack[-1]
            group = frame.groups[frame.next]
            frame.next += 1
            level, depth = frame.level, frame.depth
            first, stem = self._glyphs_for(frame)
            if frame.next == len(frame.groups):
                depth = frame.last_depth
                stack.pop()

            if isinstance(group, int) and group in self.branching_loops:
                group = self._start_loop(group, depth)
            if isinstance(group, _BranchingLoop):
                stack.append((yield from self._draw_loop(group, first, stem, level)))
                if not stack[-1].groups:
                    stack.pop()
                continue
            if isinstance(group, int) and starts[group + 1] - starts[group] != 1:
                yield self._line(group, first, level, depth)  # the usual case
                tail: Sequence[int] = (group,)
                depth += 1
            else:
                members = (group,) if isinstance(group, int) else group
                tail, length = yield from self._draw_sequence(members, first, stem, level, depth)
                depth += length
            following = starts[tail[0] + 1] - starts[tail[0]]
            if not following:
                continue
            if following == 1:  # a loop begins here
                stack.append(_SiblingFrame(self._siblings(tail), stem, level, depth, plain=True))
                continue
            stem = self._shorten_stem(stem)
            if self.limit is not None and level + 1 >= self.limit:
                yield self._hidden(tail, stem + glyphs.last_branch, level + 1, depth)
            else:
                stack.append(_SiblingFrame(self._siblings(tail), stem, level + 1, depth))

    def _glyphs_for(self, frame: _SiblingFrame) -> tuple[str, str]:
        """Return the prefixes of the group just taken: of its first line, and of the others."""
        stem = frame.stem or ""
        if frame.stem is None or frame.plain:
            return stem, stem
        if frame.next == len(frame.groups):
            return stem + self.glyphs.last_branch, stem + self.glyphs.blank
        return stem + self.glyphs.branch, stem + self.glyphs.bar

    def _shorten_stem(self, stem: str) -> str:
        if len(stem) <= _MAX_STEM_WIDTH:
            return stem
        return stem[:_KEPT_STEM_WIDTH] + self.glyphs.elided + stem[_KEPT_STEM_WIDTH + _GLYPH_WIDTH - _MAX_STEM_WIDTH :]

    def _start_loop(self, node: int, depth: int) -> _BranchingLoop:
        """Return a loop at its first step; ``node`` is its first token."""
        steps, passes = self.branching_loops[node]
        members = array("i")
        for position in range(steps * passes):
            if position % steps == 0:
                members.append(node)
            node = self.main_children[node]
        return _BranchingLoop(members, 0, steps, depth)

    def _draw_loop(
        self, loop: _BranchingLoop, first: str, stem: str, level: int
    ) -> Generator[TreeLine, None, _SiblingFrame]:
        """Draw the steps of a loop up to where it splits or ends; return what to draw next."""
        starts = self.children.starts
        members, step, prefix = loop.members, loop.step, first
        while True:
            totals = _LineTotals(members[0])
            totals.add(self.forest, members)
            place = LoopPosition(step, loop.steps, len(members))
            yield self._line(members[0], prefix, level, loop.depth + step, totals, place)
            prefix, step = stem, step + 1
            splits = starts[members[0] + 1] - starts[members[0]] > 1
            if splits or step == loop.steps:
                break
            members = array("i", (self.main_children[member] for member in members))
        after = loop.depth + loop.steps * len(members)
        on = self.main_children[members[-1]]
        if not splits:
            return _SiblingFrame([on] if on >= 0 else [], stem, level, after, plain=True)
        main_children = array("i", (self.main_children[member] for member in members))
        groups: list[int | array[int] | _BranchingLoop] = [*self._siblings(members, without=frozenset(main_children))]
        ended = step == loop.steps
        groups.append(on if ended else _BranchingLoop(main_children, step, loop.steps, loop.depth))
        return _SiblingFrame(
            groups, self._shorten_stem(stem), level + 1, loop.depth + step, last_depth=after if ended else None
        )

    def _siblings(self, parents: Sequence[int], without: frozenset[int] = frozenset()) -> Sequence[int | array[int]]:
        """Return the children of equal parents, equal ones in one group."""
        starts, items = self.children
        if self.codes is None:
            return self.children.of(parents[0])
        groups: dict[int, int | array[int]] = {}
        for parent in parents:
            for node in items[starts[parent] : starts[parent + 1]]:
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

    def _draw_sequence(
        self, members: Sequence[int], first: str, stem: str, level: int, depth: int
    ) -> Generator[TreeLine, None, tuple[Sequence[int], int]]:
        """Draw equal tokens and the only children that follow each; return the last tokens, and the length."""
        chain = self._chain(members[0], whole=len(members) > 1)
        prefix, position = first, 0
        for steps, passes in self._runs(chain):
            if passes == 1 and len(members) == 1:
                members = chain[position : position + 1]
                yield self._line(members[0], prefix, level, depth + position)
                prefix, position = stem, position + 1
                continue
            totals_by_step = [_LineTotals(node) for node in chain[position : position + steps]]
            start = position
            for _ in range(passes):
                for totals in totals_by_step:
                    if position:
                        members = self._next(members)
                    totals.add(self.forest, members)
                    position += 1
            for step, totals in enumerate(totals_by_step):
                loop = LoopPosition(step, steps, passes) if passes > 1 else None
                yield self._line(totals.first, prefix, level, depth + start + step, totals, loop)
                prefix = stem
        return members, len(chain)

    def _chain(self, node: int, *, whole: bool) -> array[int]:
        """Return a token and the only children that follow it, up to the start of a loop whose passes split."""
        starts, items = self.children
        chain = array("i", (node,))
        while starts[node + 1] - starts[node] == 1:
            node = items[starts[node]]
            if node in self.branching_loops and not whole:
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
            codes[-1] = -1  # a token that splits is not part of a loop, because its branches follow only it
        return fold.divide_into_runs(codes)

    def _line(
        self,
        node: int,
        prefix: str,
        level: int,
        depth: int,
        totals: _LineTotals | None = None,
        loop: LoopPosition | None = None,
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
            anomalies=forest.anomaly_kinds(node),
            count=totals.count if totals else 1,
            last_token_id=forest.ids[totals.last if totals else node],
            loop=loop,
            durations=totals.durations() if totals else None,
            created_us=totals.created if totals and totals.count > 1 else None,
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
