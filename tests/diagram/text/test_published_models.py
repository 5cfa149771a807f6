"""Drawings of published models: every element has a box, every flow a line, and nothing is wider than the terminal."""

from __future__ import annotations

import os

import pytest
from rich.cells import cell_len

from corpus.packages import PACKAGES, FetchError, fetch, models_in
from support.drawn_text import check, draw
from tokctl.bpmn.parser import read_root
from tokctl.diagram.elements import read_elements
from tokctl.errors import InputError

pytestmark = pytest.mark.slow
EVERY = 3


@pytest.fixture(scope="module")
def models():
    try:
        folders = [fetch(package) for package in PACKAGES if package.startswith("npm:")]
    except FetchError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    return sorted({path.read_bytes() for folder in folders for path in models_in(folder)})[::EVERY]


@pytest.mark.parametrize("width", [40, 100])
def test_published_models(models, width):
    drawn = 0
    for xml in models:
        try:
            elements = read_elements(read_root(xml))
        except InputError:
            continue
        for folded in (False, True):
            drawing = draw(xml, width, folded=folded)
            check(drawing, elements)
            assert all(cell_len("".join(span.text for span in line)) <= width for line in drawing.lines)
        drawn += bool(drawing.places)
    assert drawn > 80
