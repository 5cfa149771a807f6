"""Pictures within a page: diagrams whose elements are links, bars in time, and plots of durations.

A page allows no inline styles, so that nothing from the data can become one. The style sheet of diagrams becomes part
of the page's own, and the colours that a modeller has chosen become classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tokctl.analysis.performance.statistics import NO_STATISTICS, DurationStatistics
from tokctl.diagram.drawing import Drawing
from tokctl.diagram.style import style_sheet
from tokctl.model.durations import format_milliseconds
from tokctl.text import one_line

_SVG = "{http://www.w3.org/2000/svg}"
_SCOPE = ".diagram"
_COLOR = re.compile(r"(?:color|fill):[#\w(), ]+")
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_TICKS = (
    *(1, 10, 100, _SECOND, 10 * _SECOND, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY, 30 * _DAY),
    *(365 * _DAY * 10**n for n in range(6)),
)
"""Durations in ms that may be marked on a scale."""
_TICK_DISTANCE = 15
"""Percent of the width."""


class Bar(NamedTuple):
    """A bar, in percent of the width: its left side, its width, and its classes."""

    left: float
    width: float
    kind: str


class Tick(NamedTuple):
    """A mark on an axis: its place in percent of the width, and its text."""

    at: float
    text: str


class DurationScale:
    """A logarithmic scale of durations (ms), as those of one process differ by orders of magnitude."""

    def __init__(self, several: Iterable[DurationStatistics]) -> None:
        values = [value for one in several for value in (one.min, one.max) if value is not None and value > 0]
        low, high = max(min(values, default=1.0), 1.0), max(max(values, default=1.0), 10.0)
        first = max(tick for tick in _TICKS if tick <= low)
        last = min((tick for tick in _TICKS if tick >= high), default=high)
        self._low, self._high = math.log(first), math.log(max(last, 10 * first))
        self.ticks: list[Tick] = []
        for tick in _TICKS:
            if not first <= tick <= last:
                continue
            place = self.at(tick)
            if not self.ticks or place - self.ticks[-1].at >= _TICK_DISTANCE:
                self.ticks.append(Tick(place, format_milliseconds(tick)))

    def at(self, ms: float) -> float:
        """Return the place of a duration, in percent; one that is too short for the scale is at its begin."""
        place = (math.log(max(ms, 1e-9)) - self._low) / (self._high - self._low)
        return round(100 * min(max(place, 0.0), 1.0), 2)

    def plot(self, stats: DurationStatistics, at_least: DurationStatistics = NO_STATISTICS) -> list[Bar]:
        """Return the range of durations, in it the part from the median to p90, and marks of the median and of p99.

        ``at_least`` has those with visits that have not ended, if there are any: they extend the range.
        """
        low, high = stats.min, stats.max
        bars = self._plot_open(high, at_least.max)
        if low is None or high is None or stats.p50 is None or stats.p90 is None or stats.p99 is None:
            return bars
        p50, p90, p99 = self.at(stats.p50), self.at(stats.p90), self.at(stats.p99)
        first, last = self.at(low), self.at(high)
        return [
            *bars,
            Bar(first, round(last - first, 2), "plot-range"),
            Bar(p50, round(p90 - p50, 2), "plot-box"),
            Bar(p99, 0, "plot-p99"),
            Bar(p50, 0, "plot-p50"),
        ]

    def _plot_open(self, longest: float | None, so_far: float | None) -> list[Bar]:
        if so_far is None or (longest is not None and so_far <= longest):
            return []
        left = 0.0 if longest is None else self.at(longest)
        return [Bar(left, round(self.at(so_far) - left, 2), "plot-open")]


class DiagramEmbedding:
    """Makes diagrams part of one page, and collects the style sheet that all of them need."""

    def __init__(self) -> None:
        self._colors: dict[str, str] = {}

    def embed(self, drawing: Drawing, targets: Mapping[str, str]) -> str:
        """Return the SVG element of a diagram; elements in ``targets`` (id → id within the page) are links."""
        root = ET.fromstring(drawing.svg)  # noqa: S314 - tokctl has written it
        for style in root.findall(f"{_SVG}style"):
            root.remove(style)
        linked = {one_line(key, 1000): target for key, target in targets.items()}
        for parent in list(root.iter()):
            for place, child in enumerate(list(parent)):
                target = linked.get(child.get("data-element-id", ""))
                if target is not None:
                    parent[place] = _link(child, target)
        for node in root.iter():
            node.tag = node.tag.removeprefix(_SVG)
            color = node.attrib.pop("style", "")
            if _COLOR.fullmatch(color):
                name = self._colors.setdefault(color, f"own-{len(self._colors)}")
                node.set("class", f"{node.get('class', '')} {name}".strip())
        root.set("role", "group")  # an image would hide the links from screen readers
        title = root.find("title")
        root.set("aria-label", "BPMN diagram" if title is None else f"Diagram: {title.text}")
        return ET.tostring(root, encoding="unicode")

    def style_sheet(self) -> str:
        """Return the CSS of the diagrams, which applies to them alone. Printed, they are light."""
        lines = [_limit_to_diagrams(line) for line in style_sheet().splitlines()]
        lines += [f"{_SCOPE} .{name}{{{style}!important}}" for style, name in self._colors.items()]
        return "\n".join(lines)


def _link(group: ET.Element, target: str) -> ET.Element:
    link = ET.Element(f"{_SVG}a", {"href": f"#{target}"})
    title = group.find(f"{_SVG}title")
    if title is not None:
        link.set("aria-label", title.text or "")
    link.append(group)
    return link


def _limit_to_diagrams(line: str) -> str:
    """Return a line of the style sheet, which is a rule or the border of a block, for elements in diagrams."""
    selectors, brace, declarations = line.partition("{")
    if not declarations:
        return line.replace("@media (", "@media screen and (")
    return ",".join(f"{_SCOPE} {one}" for one in selectors.split(",")) + brace + declarations
