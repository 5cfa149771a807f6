"""Lanes of a model without diagrams: horizontal bands, one below the other, that hold the flow nodes of a level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.interchange import Bounds
from tokctl.diagram.shapes import BAND

MAX_DEPTH = 20
"""Lanes, one in the other, that are drawn."""


class Lanes:
    """The lanes of a level.

    Attributes:
        band: the number of the band of each flow node, from 0 at the top.
        count: the number of bands.
        depth: the lanes, one in the other, at most.
    """

    def __init__(self, lanes: Iterable[DiagramElement], nodes: Iterable[str]) -> None:
        known = {one.id: one for one in lanes if one.kind == "lane"}
        inner = {key for one in known.values() for key in one.lanes}
        self.band: dict[str, int] = {}
        self.frames: list[tuple[str, int, int, int]] = []
        """Lanes: their ids, how many are around each, its first band, and the one after its last."""
        self.count = self.depth = 0
        nodes = list(nodes)
        within = {key: one.id for one in known.values() for key in one.members}
        homes: dict[str | None, list[str]] = {}
        for key in nodes:
            homes.setdefault(within.get(key), []).append(key)
        for key, lane in known.items():
            if key not in inner:
                self._add(lane, known, homes, 0)
        rest = [key for key in nodes if key not in self.band]
        self.band |= dict.fromkeys(rest, self.count)
        self.count += bool(rest)

    def _add(
        self,
        lane: DiagramElement,
        known: dict[str, DiagramElement],
        homes: dict[str | None, list[str]],
        depth: int,
    ) -> None:
        self.depth = max(self.depth, depth + 1)
        first = self.count
        for key in lane.lanes if depth + 1 < MAX_DEPTH else ():
            if key in known:
                self._add(known[key], known, homes, depth + 1)
        own = homes.get(lane.id, [])
        if own or self.count == first:
            self.band |= dict.fromkeys(own, self.count)
            self.count += 1
        self.frames.append((lane.id, depth, first, self.count))

    def place(self, tops: Sequence[float], width: float) -> Iterator[tuple[str, Bounds]]:
        """Yield the bounds of the lanes. ``tops`` are the upper sides of the bands, and the lower side of the last."""
        for key, depth, first, end in self.frames:
            yield key, Bounds(depth * BAND, tops[first], width - depth * BAND, tops[end] - tops[first])
