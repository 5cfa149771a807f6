"""Diagrams within a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from support.diagrams import document, shape
from tokctl.analysis.performance.statistics import compute_statistics
from tokctl.report.figures import DiagramEmbedding, DurationScale
from tokctl.services.diagram import draw_model

COLORS = 'bioc:stroke="#ff0000" bioc:fill="#00ff00"'
XML = document('<task id="a" name="A"/><task id="b"/>', shape("a", more=COLORS) + shape("b", 200, more=COLORS))
DRAWING = draw_model(XML.encode(), "model").drawing


def test_colours_of_the_model_are_kept_without_inline_styles():
    embedding = DiagramEmbedding()
    first, second = embedding.embed(DRAWING, {}), embedding.embed(DRAWING, {})
    assert first == second
    assert not re.search("style", first)
    rules = re.findall(r"\.diagram \.(own-\d+)\{(.*)!important\}", embedding.style_sheet())
    assert {rule for _, rule in rules} == {"color:#ff0000", "fill:#00ff00", "fill:#000000"}  # the last: readable text
    for name, rule in rules:
        assert len(re.findall(rf"\b{name}\b", first)) == DRAWING.svg.count(f'style="{rule}"')


def test_every_rule_applies_to_diagrams_alone():
    lines = DiagramEmbedding().style_sheet().splitlines()
    rules = [line for line in lines if not line.startswith("@media") and line != "}"]
    assert len(rules) > 50
    assert all(one.startswith(".diagram ") for rule in rules for one in rule.partition("{")[0].split(","))


def test_only_elements_with_a_target_are_links():
    root = ET.fromstring(DiagramEmbedding().embed(DRAWING, {"a": "x"}))
    (link,) = root.iter("a")
    assert link.attrib == {"href": "#x", "aria-label": "A · task · a"}
    assert link[0].get("data-element-id") == "a"


def test_durations_have_a_logarithmic_scale():
    several = [compute_statistics([100.0, 1_000.0, 10_000.0]), compute_statistics([0.0]), compute_statistics([])]
    scale = DurationScale(several)
    assert [scale.at(ms) for ms in (0, 1, 100, 1_000, 10_000, 10**9)] == [0, 0, 0, 50, 100, 100]
    assert [(tick.at, tick.text) for tick in scale.ticks] == [(0, "100ms"), (50, "1s"), (100, "10s")]
    assert [(bar.left, bar.width, bar.kind) for bar in scale.plot(several[0])] == [
        (0, 100, "plot-range"),
        (50, 50, "plot-box"),
        (100, 0, "plot-p99"),
        (50, 0, "plot-p50"),
    ]
    assert scale.plot(several[2]) == []
    so_far = compute_statistics([10_000.0])
    assert scale.plot(several[2], so_far) == [(0, 100, "plot-open")]
    assert scale.plot(several[0], so_far) == scale.plot(several[0])
    assert scale.plot(several[1], so_far)[0] == (0, 100, "plot-open")


@pytest.mark.parametrize("durations", [[], [0.0], [1.0], [3.6e6], [5e-324], [1e300], [0.1, 1e300]])
def test_any_durations_have_a_scale(durations):
    scale = DurationScale([compute_statistics(durations)])
    assert all(0 <= scale.at(ms) <= 100 for ms in durations)
    places = [tick.at for tick in scale.ticks]
    assert places == sorted(places)
