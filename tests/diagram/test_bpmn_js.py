"""Pictures of published models have the same shapes at the same places as those of bpmn-js, in Chromium."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpus.packages import PACKAGES, FetchError, fetch, models_in
from support.browser import browser, fetch_script, shared_browser  # noqa: F401 - fixtures
from tokctl.bpmn.parser import read_root
from tokctl.diagram.drawing import draw
from tokctl.diagram.model import LAID_OUT, read_model
from tokctl.errors import InputError

pytestmark = pytest.mark.slow
BPMN_JS = "bpmn-js@18.6.2"
BPMN_JS_SHA256 = "db52c5e670f2c579d0619bb07b664cab2d00f3ea65cc316b973b317e1eb022f2"
SCRIPT = Path(__file__).with_name("bpmn_js_drawing.js")
EVERY = 2
BATCH = 25
FORMS = {"polygon": "path"}  # a gateway
TOLERANCE = {"path": 3.0}  # of data: the outlines differ a little
CROPPED = {"SequenceFlow_125uwht", "Association_1m72jls"}
"""Lines that begin inside a shape; bpmn-js draws the part inside, too."""


def undeclared(xml: bytes) -> bool:
    """Tell whether a sub-process is neither declared expanded nor collapsed: bpmn-js then draws it collapsed."""
    root = read_root(xml)
    kinds = {node.get("id"): node.tag.rpartition("}")[2] for node in root.iter()}
    shapes = (node for node in root.iter() if node.tag.endswith("}BPMNShape") and node.get("isExpanded") is None)
    return any("ubProcess" in kinds.get(node.get("bpmnElement"), "") for node in shapes)


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[str, str]]:
    """Distinct models with diagrams, each with our picture of its first diagram, by name."""
    found = {}
    try:
        folders = [fetch(package) for package in PACKAGES if package.startswith("npm:")]
    except FetchError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    contents = {path.read_bytes(): path.name for folder in folders for path in models_in(folder)}
    for n, (xml, name) in enumerate(sorted(contents.items(), key=lambda item: (item[1], item[0]))):
        try:
            model = read_model(xml, name)
        except InputError:
            continue
        if n % EVERY == 0 and LAID_OUT not in model.notes and not undeclared(xml):
            found[f"{name} {n}"] = xml.decode(errors="replace"), draw(model.planes[:1], model.elements).svg
    return found


def differences(theirs: dict, ours: dict) -> list:
    """Return the elements that two pictures draw at different places, or only one of them draws."""
    found: list = sorted(theirs.keys() ^ ours.keys())
    for key in theirs.keys() & ours.keys():
        one, other = theirs[key], ours[key]
        if "line" in one:
            far = max(abs(a - b) for a, b in zip(one["line"][:4], other["line"][:4], strict=True)) > 2
            longer = abs(one["line"][4] - other["line"][4]) > 5 + 0.05 * one["line"][4]  # theirs has round corners
            is_different = (far or longer) and key not in CROPPED
        else:
            limit = TOLERANCE.get(one["form"], 1)
            far = max(abs(a - b) for a, b in zip(one["box"], other["box"], strict=True)) > limit
            is_different = far or FORMS.get(one["form"], one["form"]) != other["form"]
        if is_different:
            found.append((key, one, other))
    return found


def test_the_same_shapes_are_at_the_same_places(models, browser):  # noqa: F811
    browser.open("about:blank")
    browser.run(fetch_script(BPMN_JS, "dist/bpmn-viewer.production.min.js", BPMN_JS_SHA256))
    pairs = list(models.values())
    drawn = [one for n in range(0, len(pairs), BATCH) for one in browser.run(SCRIPT.read_text(), pairs[n : n + BATCH])]
    compared = {name: one for name, one in zip(models, drawn, strict=True) if one is not None}
    assert len(compared) > 100
    assert sum(len(theirs) for theirs, _ in compared.values()) > 1000
    assert {name: found for name, one in compared.items() if (found := differences(*one))} == {}
