"""Lines between processes that are one below the other, around the elements in between if possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokctl.diagram.interchange import Bounds, Point

_DISTANCE = 12
"""From an element to a line that passes it, in pixels."""
_TRACKS, _TRACK = 5, 5
"""Lines beside each other between two processes, and the pixels between them."""


class PoolLines:
    """Draws lines with right angles between processes, ``gap`` pixels apart, around ``obstacles`` if possible."""

    def __init__(self, processes: Sequence[Bounds], gap: float, obstacles: Sequence[Bounds]) -> None:
        self.processes, self.gap, self.obstacles = processes, gap, obstacles
        self.drawn = 0

    def are_apart(self, one: Bounds, other: Bounds) -> bool:
        """Tell whether two elements are in different processes."""
        around = self._find_process(one)
        return not around.y <= other.middle.y <= around.bottom

    def draw(self, source: Bounds, target: Bounds) -> tuple[Point, ...]:
        """Return the points of a line: down or up to a y beside the process of the source, and on to the target.

        Elements that contain the source or the target are no obstacles.
        """
        down = source.middle.y < target.middle.y
        around = self._find_process(source)
        track = (self.drawn % _TRACKS - _TRACKS // 2) * _TRACK
        self.drawn += 1
        channel = around.bottom + self.gap / 2 + track if down else around.y - self.gap / 2 + track
        if not self.are_apart(source, target):
            channel = (source.middle.y + target.middle.y) / 2
        way = _leave(source, channel, self.obstacles, down=down)
        back = _leave(target, channel, self.obstacles, down=not down)
        points = [*way, *back[::-1]]
        return tuple(point for n, point in enumerate(points) if n == 0 or point != points[n - 1])

    def _find_process(self, one: Bounds) -> Bounds:
        return next((area for area in self.processes if area.y <= one.middle.y <= area.bottom), one)


def _leave(start: Bounds, channel: float, obstacles: Iterable[Bounds], *, down: bool) -> list[Point]:
    """Return the points from the lower or upper side of an element to the channel."""
    x, edge = start.middle.x, start.bottom if down else start.y
    turn = edge + _DISTANCE if down else edge - _DISTANCE
    top, bottom = min(edge, channel), max(edge, channel)
    between = [one for one in obstacles if one.y < bottom and one.bottom > top and not one.contains(start)]
    straight = [Point(x, edge), Point(x, channel)]
    beside = [_pass(x, between, step) for step in (1, -1)]
    for other in sorted(beside, key=lambda other: abs(other - x)):
        left, right = min(x, other), max(x, other)
        if other == x or any(one.x < right and one.right > left and one.y < turn < one.bottom for one in between):
            continue
        return [straight[0], Point(x, turn), Point(other, turn), Point(other, channel)]
    return straight


def _pass(x: float, obstacles: Iterable[Bounds], step: int) -> float:
    """Return the first x to the right (``step`` 1) or to the left (-1) of obstacles, or that given if it is free."""
    for one in sorted(obstacles, key=lambda one: one.x if step > 0 else -one.right):
        if one.x - _DISTANCE / 2 < x < one.right + _DISTANCE / 2:
            x = one.right + _DISTANCE if step > 0 else one.x - _DISTANCE
    return x
