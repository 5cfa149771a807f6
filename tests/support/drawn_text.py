"""Reads drawings of models in text as a person does: follows lines from box to box, and reads what is in a box."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from rich.cells import cell_len

from support.builders import at
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions, read_root
from tokctl.diagram.elements import read_elements
from tokctl.diagram.text.boxes import Pen
from tokctl.diagram.text.canvas import COUNT, FLOW, Glyphs
from tokctl.diagram.text.drawing import TextDrawing, draw_text

NORTH, SOUTH, WEST, EAST = (0, -1), (0, 1), (-1, 0), (1, 0)
_ARMS = {
    "│┃┆": (NORTH, SOUTH),
    "─━┄": (WEST, EAST),
    "┌┏": (SOUTH, EAST),
    "┐┓": (SOUTH, WEST),
    "└┗": (NORTH, EAST),
    "┘┛": (NORTH, WEST),
    "├┣": (NORTH, SOUTH, EAST),
    "┤┫": (NORTH, SOUTH, WEST),
    "┬┳": (SOUTH, WEST, EAST),
    "┴┻": (NORTH, WEST, EAST),
}
ARMS = {sign: arms for signs, arms in _ARMS.items() for sign in signs}
"""Character of a line → where it leads. There is no cross: where lines cross, the vertical one passes over."""


def draw(xml: str | bytes, width: int = 80, *, unicode: bool = True, **more) -> TextDrawing:
    """Draw the model in a document."""
    pen = Pen(Glyphs(unicode), str, lambda state: f"{state}:")
    return draw_text(read_elements(read_root(xml)), pen, width, **more)


def find_activity(xml: str, tokens) -> ModelActivity:
    """Return what tokens did on the model in a document."""
    (definition,) = read_definitions(xml)
    activity = ModelActivity(ProcessGraph(definition))
    activity.add(FlowAnalysis(tokens, at(100)))
    return activity


def text_of(drawing: TextDrawing) -> str:
    """Return the text of a drawing."""
    return "\n".join("".join(span.text for span in line) for line in drawing.lines)


class ReadDrawing:
    """The cells of a drawing, with the boxes in it."""

    def __init__(self, drawing: TextDrawing) -> None:
        self.cells: dict[tuple[int, int], tuple[str, str]] = {}
        for y, line in enumerate(drawing.lines):
            x = 0
            for text, role in line:
                for sign in text:
                    for n in range(cell_len(sign)):
                        self.cells[x + n, y] = sign if n == 0 else "", role
                    x += cell_len(sign)
        self.places = drawing.places
        self.tops: dict[tuple[int, int], str] = {}
        self.lefts: dict[tuple[int, int], str] = {}
        self.exits: defaultdict[str, list[tuple[tuple[int, int], tuple[int, int]]]] = defaultdict(list)
        self.borders: set[tuple[int, int]] = set()
        for key, place in sorted(drawing.places.items(), key=lambda item: item[1].height > 1):
            right, bottom = place.x + place.width - 1, place.y + place.height - 1
            for x in range(place.x, right + 1) if place.height > 1 else ():
                self.tops[x, place.y] = key
                self.borders |= {(x, place.y), (x, bottom)}
                if self.sign((x, bottom)) in "┬┳":
                    self.exits[key].append(((x, bottom), SOUTH))
            for y in range(place.y, bottom + 1):
                self.lefts[place.x, y] = key
                if self.sign((right, y)) in "├┣" and (right, y) not in self.borders:
                    self.exits[key].append(((right, y), EAST))
                self.borders |= {(place.x, y), (right, y)}

    def sign(self, cell: tuple[int, int]) -> str:
        return self.cells.get(cell, (" ", ""))[0]

    def follow(self, key: str) -> set[str]:
        """Return the elements that the lines from one lead to. Raises AssertionError: a line ends elsewhere."""
        reached: set[str] = set()
        pending = [self._step(cell, way) for cell, way in self.exits[key]]
        seen = set(pending)
        for cell, way in pending:  # grows while it is read
            found, target = self._pass(cell, way)
            reached |= {target} - {None}
            new = [step for step in found if step not in seen]
            pending += new
            seen |= set(new)
        return reached

    def _pass(self, cell, way):
        """Return the next steps from a cell that a line enters, or the element that it arrives at."""
        sign, role = self.cells.get(cell, (" ", ""))
        if way == SOUTH and sign == "▼":
            return [], self.tops[cell]
        if way == EAST and sign == "▶":
            return [], self.lefts[self._step(cell, EAST)[0]]
        if cell in self.borders:
            assert way in {NORTH, WEST}, f"a line runs into a box at {cell}"
            return [], None  # another element from which lines lead to the same one
        back = (-way[0], -way[1])
        if back in ARMS.get(sign, ()):
            return [self._step(cell, arm) for arm in ARMS[sign] if arm != back], None
        passes = way in {WEST, EAST} and (role in {FLOW, COUNT} or sign in "│┃┆")
        assert passes, f"a line ends at {cell}: {sign!r}"
        return [self._step(cell, way)], None

    @staticmethod
    def _step(cell, way):
        return (cell[0] + way[0], cell[1] + way[1]), way

    def inside(self, key: str) -> str:
        """Return the text in the box of an element, line by line, without its borders."""
        place = self.places[key]
        rows = range(place.y + (place.height > 1), place.y + max(place.height - 1, 1))
        columns = range(place.x + 1, place.x + place.width - 1)
        return "\n".join("".join(self.sign((x, y)) for x in columns) for y in rows)


def check(drawing: TextDrawing, elements) -> None:
    """Check that every element and flow of a model can be found in its drawing, and nothing else."""
    read = ReadDrawing(drawing)
    omitted = {one.id for one in drawing.omitted}
    shown = [one for one in elements.values() if drawing.places.keys() >= {one.source, one.target}]
    levels = [{one.parent, elements[one.source].parent, elements[one.target].parent} for one in shown]
    kinds = {"sequenceFlow", "association"}
    flows = [
        one
        for one, level in zip(shown, levels, strict=True)
        if one.kind in kinds and one.id not in omitted and (one.kind == "sequenceFlow" or len(level) == 1)
    ]
    inside = {(one.id, other.id) for sequence in drawing.sequences.values() for one, other in pairwise(sequence)}
    box = {one.id: key for key, sequence in drawing.sequences.items() for one in sequence}
    for key in (key for key in drawing.places if box.get(key, key) == key):
        wanted = {
            box.get(one.target, one.target)
            for one in flows
            if box.get(one.source, one.source) == key and (one.source, one.target) not in inside
        }
        assert {box.get(one, one) for one in read.follow(key)} == wanted, key
        if words := elements[key].name.split():
            assert words[0][:3] in read.inside(key), key
