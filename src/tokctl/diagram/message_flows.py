"""Lines of message flows between pools that are one below the other, around the elements in between if possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokctl.diagram.interchange import Bounds, Point

_DISTANCE = 12
"""From an element to a line that passes it, in pixels."""


def message_line(source: Bounds, target: Bounds, channel: float, obstacles: Sequence[Bounds]) -> tuple[Point, ...]:
    """Return the points of a message flow: down or up to the ``channel``, a y between two pools, and on to the target.

    The ends, and elements that contain one, may be among the ``obstacles``.
    """
    down = source.middle.y < target.middle.y
    way = _leave(source, channel, obstacles, down=down)
    back = _leave(target, channel, obstacles, down=not down)
    points = [*way, *back[::-1]]
    return tuple(point for n, point in enumerate(points) if n == 0 or point != points[n - 1])


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
