"""Places connected elements in layers from left to right, with lines that have right angles.

This is the method of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures",
1981): flows that close a cycle are turned, each element is a layer behind the last element that leads to it, lines over
several layers get a place in each of them, and medians of neighbours order the places within a layer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Protocol

from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.interchange import Bounds, Edge, Point
from tokctl.diagram.labels import SMALL_FONT_SIZE, text_width
from tokctl.diagram.shapes import LABEL_WIDTH

EVENT, GATEWAY = 36, 50
ROW_GAP, COLUMN_GAP, TRACK = 30, 50, 10
LABEL_ROOM = 34
"""Room below an event or a gateway for its name."""
STUB = 16
"""Length of a line before it turns, in pixels."""
SWEEPS = 8
MAX_SPAN = 40
"""Layers that a line passes among the elements; a longer one passes below them, and so do those that lead back."""
_BEND = "\0"  # begins the id of a place that a line passes; no element id contains NUL


class LevelToPlace(Protocol):
    """What the layers are made of, and where their places go: sizes, bounds and routes by id, in pixels."""

    sizes: dict[str, tuple[float, float]]
    bounds: dict[str, Bounds]
    routes: list[Edge]

    def room(self, key: str) -> float:
        """Return the height of an element with its name and its boundary events."""

    def width_with_name(self, key: str) -> float:
        """Return the width of an element with its name."""

    def place_boundary_events(self) -> None:
        """Put boundary events at the activities that have a place."""


def order_elements(
    keys: list[str], flows: Sequence[DiagramElement], ends: Mapping[str, tuple[str, str]]
) -> tuple[list[str], set[str]]:
    """Return the elements, each after those that lead to it, and the flows that this ignores: they close a cycle.

    This is a search in depth, first from the elements that nothing leads to. ``ends`` are the source and the target of
    each flow.
    """
    leaving: dict[str, list[str]] = defaultdict(list)
    for flow in flows:
        leaving[ends[flow.id][0]].append(flow.id)
    entered = {target for _, target in ends.values()}
    found: set[str] = set()
    done: dict[str, None] = {}
    turned: set[str] = set()
    for start in sorted(keys, key=lambda key: key in entered):
        pending = [] if start in found else [(start, iter(leaving[start]))]
        found.add(start)
        while pending:
            key, rest = pending[-1]
            for flow_id in rest:
                target = ends[flow_id][1]
                if target not in found:
                    found.add(target)
                    pending.append((target, iter(leaving[target])))
                    break
                if target not in done:
                    turned.add(flow_id)
            else:
                done[key] = None
                pending.pop()
    return list(done)[::-1], turned


class Layers:
    """Connected elements of a level: their layers, and the lines between them."""

    def __init__(
        self, level: LevelToPlace, keys: list[str], flows: list[DiagramElement], ends: dict[str, tuple[str, str]]
    ) -> None:
        self.level, self.flows, self.ends = level, flows, ends
        order, turned = order_elements(keys, flows, ends)
        forward = [flow for flow in flows if flow.id not in turned]
        targets: dict[str, list[str]] = defaultdict(list)
        for flow in forward:
            targets[ends[flow.id][0]].append(ends[flow.id][1])
        self.rank = dict.fromkeys(keys, 0)  # the length of the longest path to an element
        for key in order:
            self.rank |= {target: max(self.rank[target], self.rank[key] + 1) for target in targets[key]}
        self.paths: dict[str, list[str]] = {}
        self.layers: list[list[str]] = [[] for _ in range(max(self.rank.values()) + 1)]
        for key in keys:
            self.layers[self.rank[key]].append(key)
        self.before: dict[str, list[str]] = defaultdict(list)
        self.after: dict[str, list[str]] = defaultdict(list)
        for flow in forward:
            source, target = ends[flow.id]
            if self.rank[target] - self.rank[source] > MAX_SPAN:
                continue
            bends = [f"{_BEND}{flow.id}{_BEND}{n}" for n in range(self.rank[source] + 1, self.rank[target])]
            for n, bend in enumerate(bends, self.rank[source] + 1):
                self.layers[n].append(bend)
            self.paths[flow.id] = [source, *bends, target]
            for one, other in pairwise(self.paths[flow.id]):
                self.after[one].append(other)
                self.before[other].append(one)
        self._order()
        self.drops: dict[str, int] = defaultdict(int)
        self.width = self.bottom = 0.0

    def _order(self) -> None:
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            neighbours = self.before if down else self.after
            place = {key: n for layer in self.layers for n, key in enumerate(layer)}
            for layer in self.layers if down else self.layers[::-1]:
                layer.sort(key=lambda key: median([place[o] for o in neighbours[key]] or [place[key]]))
                place |= {key: n for n, key in enumerate(layer)}

    def place(self, top: float) -> None:
        """Set the bounds of the elements and the routes of the flows, from ``top`` downwards."""
        level, middle = self.level, self._find_rows(top)
        tracks: dict[int, int] = defaultdict(int)
        labels: dict[int, float] = defaultdict(float)
        for flow in self.flows:
            rank = self.rank[self.ends[flow.id][0]]
            tracks[rank] += 1
            labels[rank] = max(labels[rank], min(text_width(flow.name, SMALL_FONT_SIZE), LABEL_WIDTH))
        x, columns = 0.0, []
        for n, layer in enumerate(self.layers):
            nodes = [key for key in layer if key in level.sizes]
            width = max(level.width_with_name(key) for key in nodes)
            columns.append(x + width)
            for key in nodes:
                own, height = level.sizes[key]
                level.bounds[key] = Bounds(x + (width - own) / 2, middle[key] - height / 2, own, height)
                self.bottom = max(self.bottom, level.bounds[key].y + level.room(key))
            x += width + COLUMN_GAP + labels[n] + TRACK * tracks[n]
        self.width = columns[-1]
        level.place_boundary_events()
        used: dict[int, int] = defaultdict(int)
        for flow in sorted(self.flows, key=lambda flow: -self._first_bend(flow, middle)):  # so that fewer lines cross
            level.routes.append(Edge(element=flow.id, points=self._route(flow, columns, middle, used)))

    def _first_bend(self, flow: DiagramElement, middle: dict[str, float]) -> float:
        path = self.paths.get(flow.id)
        return abs(middle[path[1]] - middle[path[0]]) if path else math.inf

    def _route(
        self, flow: DiagramElement, columns: list[float], middle: dict[str, float], used: dict[int, int]
    ) -> tuple[Point, ...]:
        """Return the points of a flow: right to a track behind the column, up or down, and on to the next column."""
        source, target = self.ends[flow.id]
        start, end = self.level.bounds[flow.source or ""], self.level.bounds[target]
        rank = self.rank[source]
        points = [Point(start.right, start.middle.y)]
        if flow.source != source:
            self.drops[source] += 1  # so that the lines of several boundary events are not one
            drop = start.bottom + LABEL_ROOM / 2 + TRACK / 2 * (self.drops[source] - 1)
            points = [Point(start.middle.x, start.bottom), Point(start.middle.x, drop)]
        stops = [middle[key] for key in self.paths.get(flow.id, ())[1:]]
        if start.width == GATEWAY and stops and stops[0] != start.middle.y:
            side, stub = (start.y, -STUB) if stops[0] < start.middle.y else (start.bottom, STUB)
            points = [Point(start.middle.x, side), Point(start.middle.x, side + stub)]
        if not stops:  # below all elements
            self.bottom += TRACK * 2
            self.width = max(self.width, columns[rank] + TRACK * (2 + used[rank]))
            stops = [self.bottom]
        for n, y in enumerate(stops):
            if y != points[-1].y:
                x = columns[rank + n] + TRACK * (2 + used[rank + n])
                used[rank + n] += 1
                points += [Point(x, points[-1].y), Point(x, y)]
        if flow.id not in self.paths:
            points += [Point(end.x - TRACK * 2, self.bottom), Point(end.x - TRACK * 2, end.middle.y)]
        return (*points, Point(end.x, end.middle.y))

    def _find_rows(self, top: float) -> dict[str, float]:
        """Return the y of the middle of each place: near its neighbours, below what is above it."""
        level, middle = self.level, dict[str, float]()
        half = {key: level.sizes[key][1] / 2 if key in level.sizes else 0.5 for layer in self.layers for key in layer}
        for sweep in range(SWEEPS + 1):
            near = self.before if sweep % 2 == 0 else self.after
            for layer in self.layers if sweep % 2 == 0 else self.layers[::-1]:
                wishes = {}
                floor = -math.inf
                for key in layer:
                    known = [middle[other] for other in near[key] if other in middle]
                    wishes[key] = sum(known) / len(known) if known else middle.get(key, 0.0)
                    middle[key] = max(wishes[key], floor + half[key])
                    floor = middle[key] - half[key] + level.room(key) + ROW_GAP
                shift = median(middle[key] - wishes[key] for key in layer)
                middle |= {key: middle[key] - shift for key in layer}
        offset = top - min(y - half[key] for key, y in middle.items())
        return {key: float(round(y + offset)) for key, y in middle.items()}
