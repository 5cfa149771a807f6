"""Pictures within a page: diagrams whose elements are links, and bars.

A page allows no inline styles, so that nothing from the data can become one. The style sheet of diagrams becomes part
of the page's own, and the colours that a modeller has chosen become classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tokctl.diagram.drawing import Drawing
from tokctl.diagram.style import style_sheet
from tokctl.text import one_line

_SVG = "{http://www.w3.org/2000/svg}"
_SCOPE = ".diagram"
_COLOR = re.compile(r"(?:color|fill):[#\w(), ]+")


class Bar(NamedTuple):
    """A bar, in percent of the width: its left side, its width, and its classes."""

    left: float
    width: float
    kind: str


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
        """Return the CSS of the diagrams, which applies to them alone."""
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
        return line
    return ",".join(f"{_SCOPE} {one}" for one in selectors.split(",")) + brace + declarations
