"""Puts the boxes of a level into rows that fit a width, in an order in which flows lead onwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

from msgspec import Struct

from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.layers import order_elements
from tokctl.diagram.text.boxes import Box
from tokctl.diagram.text.canvas import Span

GAP = 3
"""Cells between two boxes."""
MAX_SIDE_BRANCH = 2
"""Elements of a branch that is placed before the flow continues in the next row."""


class RoutedFlow(Struct, frozen=True, kw_only=True):
    """A flow of a level: the elements at its ends, whose boxes they are in, its label and its weight."""

    flow: DiagramElement
    source: str
    target: str
    weight: int
    label: tuple[Span, ...] = ()

    @property
    def from_event(self) -> bool:
        """Whether it starts at a boundary event."""
        return self.flow.source != self.source


class PlacedBox(Struct):
    """A box in a row: its column, the cells before it, and the flow that leads to it from the box to its left."""

    box: Box
    x: int
    direct: RoutedFlow | None = None


class Rows:
    """The rows of a level. ``room`` is the width in cells; a box that is wider has a row of its own."""

    def __init__(
        self,
        boxes: Mapping[str, Box],
        connections: Sequence[RoutedFlow],
        room: int,
        exits: Mapping[str, int],
        gaps: Mapping[str, int],
    ) -> None:
        self.boxes, self.room, self.exits, self.gaps = boxes, room, exits, gaps
        self.rows: list[list[PlacedBox]] = []
        ends = {one.flow.id: (one.source, one.target) for one in connections}
        flows = [one.flow for one in connections]
        _, turned = order_elements([*boxes], flows, ends)
        self.after: dict[str, list[RoutedFlow]] = defaultdict(list)
        self.waits: dict[str, int] = defaultdict(int)
        self.before: dict[str, list[RoutedFlow]] = defaultdict(list)
        for one in connections:
            self.before[one.target].append(one)
            if one.flow.id not in turned:
                self.after[one.source].append(one)
                self.waits[one.target] += 1
        self._arrange()

    def _arrange(self) -> None:
        pending = dict.fromkeys([key for key in self.boxes if not self.waits[key]][::-1])
        key: str | None = None
        folded: str | None = None
        while pending or folded:
            direct = self._choose_next(key, pending) if key is not None and folded is None else None
            if direct is not None and not self._fits(direct.target, direct):
                folded, direct = direct.target, None
                del pending[folded]
            if direct is not None:
                key = direct.target
                del pending[key]
            else:
                side = next((one for one in reversed(pending) if self._is_side_branch(one)), None)
                if side is not None:
                    key = side
                    del pending[key]
                elif folded is not None:
                    key, folded = folded, None
                else:
                    key, _ = pending.popitem()
            self._put(key, direct)
            for one in reversed(self.after[key]):
                self.waits[one.target] -= 1
                if not self.waits[one.target]:
                    pending[one.target] = None

    def _choose_next(self, key: str, ready: Container[str]) -> RoutedFlow | None:
        """Return the flow along which the row continues: to the branch with more to come, else the first."""
        found = [one for one in self.after[key] if one.target in ready and not one.from_event]
        return min(found, key=lambda one: self._is_side_branch(one.target), default=None)

    def _is_side_branch(self, key: str) -> bool:
        """Tell whether only few elements follow on a branch until it ends or joins another."""
        for _ in range(MAX_SIDE_BRANCH):
            following = self.after[key]
            if not following:
                return True
            if len(following) > 1 or self.boxes[key].inner is not None:
                return False
            key = following[0].target
            if len(self.before[key]) > 1:
                return True
        return False

    def _fits(self, key: str, direct: RoutedFlow | None) -> bool:
        """Tell whether a box can be the next one of the row: no line has to lead up again from a box before it."""
        last, present = self.rows[-1][-1], {placed.box.element.id for placed in self.rows[-1]}
        if any(one.source in present and one is not direct for one in self.before[key]):
            return False
        x = self._end(last) + (self.gap(direct) if direct else GAP + 1)
        return x + self.boxes[key].width + self.exits.get(key, 0) <= self.room

    def gap(self, direct: RoutedFlow) -> int:
        """Return the cells for the line between two boxes with its label."""
        return self.gaps.get(direct.flow.id, GAP)

    def _end(self, placed: PlacedBox) -> int:
        return placed.x + placed.box.width + self.exits.get(placed.box.element.id, 0)

    def _put(self, key: str, direct: RoutedFlow | None) -> None:
        box = self.boxes[key]
        if self.rows and (direct is not None or (self._is_side_branch(key) and self._fits(key, None))):
            x = self._end(self.rows[-1][-1]) + (self.gap(direct) if direct else GAP + 1)
            self.rows[-1].append(PlacedBox(box, x, direct))
        else:
            self.rows.append([PlacedBox(box, 0)])
