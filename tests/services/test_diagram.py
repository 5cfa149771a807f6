"""Diagrams of instances, and what their notes say."""

from __future__ import annotations

import struct
from xml.etree import ElementTree as ET

import pytest

from support.builders import at, instance, token
from support.diagrams import document, edge, groups, shape
from support.engine_makers import from_store
from tokctl.bpmn.parser import read_definitions
from tokctl.diagram.drawing import Drawing
from tokctl.diagram.model import LAID_OUT
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.model.filters import TokenFilter
from tokctl.services.diagram import PNG_SCALE, DiagramQuery, convert_to_png, draw_activity, draw_model

MODEL = document(
    '<task id="a"/><task id="b"/><sequenceFlow id="f" sourceRef="a" targetRef="b"/>',
    shape("a") + shape("b", 200) + edge("f", (100, 40), (200, 40)),
)
NOW = at(100)


def engine(*, versions=(1,), model=MODEL, element="b"):
    """An engine with an instance of each version: a token has gone from a to an element, where it FAILED."""
    records = []
    for version in dict.fromkeys(versions) if model else ():
        (definition,) = read_definitions(model)
        records.append(
            type(definition)(
                **{name: getattr(definition, name) for name in definition.__struct_fields__} | {"version": version}
            )
        )
    for n, version in enumerate(versions):
        about = {"process_id": "p", "instance_id": f"i{n}"}
        hops = [{"from_element": "a", "via_flow": "f"}]
        records += [
            instance(f"i{n}", process_id="p", version=version),
            token("t1", element_id="a", created_at=at(0), completed_at=at(2), **about),
            token("t2", element_id=element, created_at=at(2), state="FAILED", flow_history=hops, **about),
        ]
    return from_store(records)


def kinds(drawn):
    found = groups(ET.fromstring(drawn.drawing.svg))
    return {key: " ".join(group.get("class").split()[1:]) for key, group in found.items()}


def test_an_instance_is_drawn_on_its_model():
    drawn = draw_activity(engine(), DiagramQuery(instance_id="i0"), NOW)
    assert kinds(drawn) == {"a": "visited critical", "b": "visited live state-FAILED", "f": "taken critical"}
    assert drawn.notes == ()
    assert "p (p, version 1)" in drawn.drawing.svg
    assert "instance i0" in drawn.drawing.svg


def test_all_instances_of_a_process_are_drawn_on_the_newest_model():
    drawn = draw_activity(engine(versions=(1, 1, 3)), DiagramQuery(process_id="p"), NOW)
    assert kinds(drawn) == {"a": "visited", "b": "visited live state-FAILED", "f": "taken"}
    assert "×3" in drawn.drawing.svg
    assert drawn.notes == ("Instances of version 1 are drawn on the model of version 3.",)


def test_a_version_can_be_chosen():
    drawn = draw_activity(engine(versions=(1, 1, 3)), DiagramQuery(process_id="p", version=1), NOW)
    assert "version 1" in drawn.drawing.svg
    assert "2 instances" in drawn.drawing.svg
    assert drawn.notes == ()


@pytest.mark.parametrize("where", [TokenFilter(since=at(1)), TokenFilter(until=at(2))])
def test_a_part_of_the_time_has_no_critical_path(where):
    drawn = draw_activity(engine(), DiagramQuery(instance_id="i0", where=where), NOW)
    assert "critical" not in " ".join(kinds(drawn).values())


def test_only_what_happened_in_the_period_is_drawn():
    drawn = draw_activity(engine(), DiagramQuery(process_id="p", where=TokenFilter(until=at(1))), NOW)
    assert kinds(drawn) == {"a": "visited", "b": "unreached", "f": "unreached"}


def test_tokens_that_the_model_does_not_have_are_in_a_note():
    drawn = draw_activity(engine(element="z"), DiagramQuery(instance_id="i0"), NOW)
    assert drawn.notes == ("1 token at 1 element that the model does not have: z.",)


def test_a_file_can_be_the_model():
    drawn = draw_activity(engine(model=""), DiagramQuery(instance_id="i0", model=("m", MODEL.encode())), NOW)
    assert kinds(drawn)["b"] == "visited live state-FAILED"


@pytest.mark.parametrize(
    ("options", "query", "error", "message"),
    [
        ({"model": ""}, {"instance_id": "i0"}, NotFoundError, "the model of 'p' is unknown. Give the BPMN file"),
        ({}, {"process_id": "q"}, NotFoundError, "the model of 'q' is unknown"),
        ({}, {"process_id": "p", "version": 7}, NotFoundError, "the model of 'p', version 7, is unknown"),
        ({}, {"instance_id": "nope"}, NotFoundError, "nope"),
        ({"versions": ()}, {"process_id": "p", "model": ("m", MODEL.encode())}, NotFoundError, "no instance of 'p'"),
        (
            {},
            {"process_id": "q", "model": ("m", MODEL.encode())},
            UsageError,
            "m does not have the process 'q'. It has: p",
        ),
        ({}, {"instance_id": "i0", "model": ("m", b"<a/>")}, InputError, "m, line 1: not BPMN"),
    ],
)
def test_what_cannot_be_drawn(options, query, error, message):
    with pytest.raises(error, match=message):
        draw_activity(engine(**options), DiagramQuery(**query), NOW)


def test_a_model_alone():
    drawn = draw_model(document('<task id="a"/>').encode(), "m")
    assert kinds(drawn) == {"a": ""}
    assert drawn.notes == (LAID_OUT,)


def test_a_png_has_twice_the_size():
    drawing = draw_model(MODEL.encode(), "m", dark=False).drawing
    png = convert_to_png(drawing)
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (drawing.width * PNG_SCALE, drawing.height * PNG_SCALE)


def test_a_png_of_excessive_size_is_refused():
    with pytest.raises(InputError, match="200,000 × 200,000 pixels is too large"):
        convert_to_png(Drawing("<svg/>", 100_000, 100_000))
