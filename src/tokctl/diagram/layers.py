"""Places connected elements in layers from left to right, with lines that have right angles.

This is the method of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures",
1981): flows that close a cycle are turned, each element is a layer behind the last element that leads to it, lines over
several layers get a place in each of them, and medians of neighbours order the places within a layer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
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
MIN_BAND, BAND_GAP = 80, 50
"""Height of a band without its margins, at least, and room between the contents of two bands, in pixels."""
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

    def rise(self, key: str) -> float:
        """Return the height of what is above an element and belongs to it."""

    def room(self, key: str) -> float:
        """Return the height of an element with its name, its boundary events and its artifacts."""

    def full_width(self, key: str) -> float:
        """Return the width of an element with its name and its artifacts."""

    def place_attached(self) -> None:
        """Put boundary events and artifacts at the elements that have a place."""


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
    """Elements of a level: their layers, and the lines between them.

    ``ends`` are the elements at the ends of each flow. ``links`` are those at the ends of each line from an artifact to
    another element than that which it is near: they have no influence on the places of the elements. ``band`` has the
    number of the horizontal band of each element, if there are bands.
    """

    def __init__(
        self,
        level: LevelToPlace,
        keys: list[str],
        flows: list[DiagramElement],
        ends: dict[str, tuple[str, str]],
        links: Mapping[str, tuple[str, str]],
        band: Mapping[str, int],
    ) -> None:
        self.level, self.flows, self.ends, self.links = level, flows, ends, links
        self.band = dict.fromkeys(keys, 0) | dict(band)
        order, turned = order_elements(keys, flows, ends)
        forward = [flow for flow in flows if flow.id not in turned]
        targets: dict[str, list[str]] = defaultdict(list)
        for flow in forward:
            targets[ends[flow.id][0]].append(ends[flow.id][1])
        self.rank = dict.fromkeys(keys, 0)  # the length of the longest path to an element
        for key in order:
            self.rank |= {target: max(self.rank[target], self.rank[key] + 1) for target in targets[key]}
        self.paths: dict[str, list[str]] = {}
        self.layers: list[list[str]] = [[] for _ in range(max(self.rank.values(), default=-1) + 1)]
        for key in keys:
            self.layers[self.rank[key]].append(key)
        self.before: dict[str, list[str]] = defaultdict(list)
        self.after: dict[str, list[str]] = defaultdict(list)
        for flow in forward:
            source, target = ends[flow.id]
            if self.rank[target] - self.rank[source] > MAX_SPAN:
                continue
            self.paths[flow.id] = self._add_path(flow.id, source, target)
            for one, other in pairwise(self.paths[flow.id]):
                self.after[one].append(other)
                self.before[other].append(one)
        for key, pair in links.items():
            first, last = sorted(pair, key=lambda end: self.rank[end])
            if self.rank[last] - self.rank[first] <= MAX_SPAN:
                path = self._add_path(key, first, last)
                self.paths[key] = path if first == pair[0] else path[::-1]
                for before, bend, after in zip(path, path[1:], path[2:], strict=False):
                    self.before[bend], self.after[bend] = [before], [after]
        self._order()
        self.drops: dict[str, int] = defaultdict(int)
        self.width = self.bottom = 0.0
        self.tops: list[float] = []
        self.columns: list[tuple[float, float]] = []
        self.middle: dict[str, float] = {}
        self.used: dict[int, int] = defaultdict(int)

    def _add_path(self, key: str, source: str, target: str) -> list[str]:
        """Return the ends of a line, and between them the places that it passes, which are new in their layers."""
        ranks = range(self.rank[source] + 1, self.rank[target])
        bends = [f"{_BEND}{key}{_BEND}{n}" for n in ranks]
        for n, bend in zip(ranks, bends, strict=True):
            self.layers[n].append(bend)
            self.band[bend] = self.band[target]
        return [source, *bends, target]

    def _order(self) -> None:
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            neighbours = self.before if down else self.after
            place = {key: n for layer in self.layers for n, key in enumerate(layer)}
            for layer in self.layers if down else self.layers[::-1]:
                layer.sort(
                    key=lambda key: (self.band[key], median([place[o] for o in neighbours[key]] or [place[key]]))
                )
                place |= {key: n for n, key in enumerate(layer)}

    def place(self, top: float, bands: int = 0) -> None:
        """Set the bounds of the elements and the routes of the flows, from ``top`` downwards.

        ``bands`` is the number of bands, or 0. Afterwards ``tops`` are the upper sides of the bands, and
        ``bottom`` is the lower side of all.
        """
        level = self.level
        self.bottom = self._find_bands(top, bands)
        tracks: dict[int, int] = defaultdict(int)
        labels: dict[int, float] = defaultdict(float)
        for flow in self.flows:
            rank = self.rank[self.ends[flow.id][0]]
            tracks[rank] += 1
            labels[rank] = max(labels[rank], min(text_width(flow.name, SMALL_FONT_SIZE), LABEL_WIDTH))
        for one, other in self.links.values():
            for gap in _gaps(self.rank[one], self.rank[other]):
                tracks[gap] += 1
        x = 0.0
        for n, layer in enumerate(self.layers):
            nodes = [key for key in layer if key in level.sizes]
            width = max(level.full_width(key) for key in nodes)
            self.columns.append((x, x + width))
            for key in nodes:
                own, height = level.sizes[key]
                level.bounds[key] = Bounds(x + (width - own) / 2, self.middle[key] - height / 2, own, height)
            x += width + COLUMN_GAP + labels[n] + TRACK * tracks[n]
        self.width = self.columns[-1][1] if self.columns else 0.0
        level.place_attached()
        for flow in sorted(self.flows, key=lambda flow: -self._first_bend(flow)):  # so that fewer lines cross
            level.routes.append(Edge(element=flow.id, points=self._route(flow)))

    def _first_bend(self, flow: DiagramElement) -> float:
        path = self.paths.get(flow.id)
        return abs(self.middle[path[1]] - self.middle[path[0]]) if path else math.inf

    def _track(self, gap: int) -> float:
        """Return the x of the next free vertical line behind a column."""
        self.used[gap] += 1
        return self.columns[gap][1] + TRACK * (1 + self.used[gap])

    def _route(self, flow: DiagramElement) -> tuple[Point, ...]:
        """Return the points of a flow: right to a track behind the column, up or down, and on to the next column."""
        source, target = self.ends[flow.id]
        start, end = self.level.bounds[flow.source or ""], self.level.bounds[target]
        rank = self.rank[source]
        points = [Point(start.right, start.middle.y)]
        if flow.source != source:
            self.drops[source] += 1  # so that the lines of several boundary events are not one
            drop = start.bottom + LABEL_ROOM / 2 + TRACK / 2 * (self.drops[source] - 1)
            points = [Point(start.middle.x, start.bottom), Point(start.middle.x, drop)]
        stops = [self.middle[key] for key in self.paths.get(flow.id, ())[1:]]
        if start.width == GATEWAY and stops and stops[0] != start.middle.y:
            side, stub = (start.y, -STUB) if stops[0] < start.middle.y else (start.bottom, STUB)
            points = [Point(start.middle.x, side), Point(start.middle.x, side + stub)]
        if not stops:  # below all elements
            self.bottom += TRACK * 2
            stops = [self.bottom]
        for n, y in enumerate(stops):
            if y != points[-1].y:
                x = self._track(rank + n)
                self.width = max(self.width, x)
                points += [Point(x, points[-1].y), Point(x, y)]
        if flow.id not in self.paths:
            x = self.columns[self.rank[target]][0] - TRACK * 2
            points += [Point(x, self.bottom), Point(x, end.middle.y)]
        return (*points, Point(end.x, end.middle.y))

    def route_link(self, key: str, start: Point, level: float, end: Point, last: float) -> list[Point]:
        """Return the points of a link: from ``start`` to a y, along its path, and on the last y to ``end``."""
        one, other = self.links[key]
        gaps = _gaps(self.rank[one], self.rank[other])
        path = self.paths.get(key)
        if path is None:  # below all elements
            self.bottom += TRACK * 2
        stops = [self.bottom] if path is None else [self.middle[bend] for bend in path[1:-1]]
        points = [start, Point(start.x, level)]
        for gap, y in zip(gaps if path else (gaps[0], gaps[-1]), (*stops, last), strict=True):
            if y != points[-1].y:
                x = self._track(gap)
                self.width = max(self.width, x)
                points += [Point(x, points[-1].y), Point(x, y)]
        return [*points, Point(end.x, last), end]

    def _find_bands(self, top: float, bands: int) -> float:
        """Find the rows of each band, one below the other, and return the lower side of the last."""
        layers: list[list[list[str]]] = [[] for _ in range(max(bands, 1))]
        for layer in self.layers:
            for band, keys in groupby(layer, key=lambda key: self.band[key]):
                layers[band].append(list(keys))
        for rows in layers:
            self.tops.append(top)
            middle = self._find_rows(rows)
            height = 0.0
            if middle:
                upper = min(y - self.rise(key) for key, y in middle.items())
                self.middle |= {key: float(round(y + top - upper)) for key, y in middle.items()}
                height = max(y - self.rise(key) + self.level.room(key) for key, y in middle.items()) - upper
            top += max(height, MIN_BAND if bands else 0) + BAND_GAP
        return math.ceil(top - BAND_GAP)

    def rise(self, key: str) -> float:
        """Return the height of a place above the middle of its element."""
        return self.level.rise(key) + self.level.sizes[key][1] / 2 if key in self.level.sizes else 0.5

    def _find_rows(self, layers: Sequence[Sequence[str]]) -> dict[str, float]:
        """Return the y of the middle of each place: near its neighbours, below what is above it."""
        level, middle = self.level, dict[str, float]()
        rise = {key: self.rise(key) for layer in layers for key in layer}
        for sweep in range(SWEEPS + 1):
            near = self.before if sweep % 2 == 0 else self.after
            for layer in layers if sweep % 2 == 0 else layers[::-1]:
                wishes = {}
                floor = -math.inf
                for key in layer:
                    known = [middle[other] for other in near[key] if other in middle]
                    wishes[key] = sum(known) / len(known) if known else middle.get(key, 0.0)
                    middle[key] = max(wishes[key], floor + rise[key])
                    floor = middle[key] - rise[key] + level.room(key) + ROW_GAP
                shift = median(middle[key] - wishes[key] for key in layer)
                middle |= {key: middle[key] - shift for key in layer}
        return middle


def _gaps(one: int, other: int) -> Sequence[int]:
    """Return the numbers of the columns behind which a line from one column to another can go up and down."""
    return [one] if one == other else range(one, other) if one < other else range(one - 1, other - 1, -1)
