"""Pictures as terminals read them."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageStat

from support.diagrams import document, edge, shape
from support.terminal_pictures import make_png, open_png, read_iterm2, read_kitty, read_sixel
from tokctl.cli.terminal_pictures import encode_iterm2, encode_kitty, encode_sixel
from tokctl.services.diagram import convert_to_png, draw_model

XML = document(
    '<task id="a" name="Pay"/><exclusiveGateway id="b"/><sequenceFlow id="f" sourceRef="a" targetRef="b"/>',
    shape("a") + shape("b", 200, 15, 50, 50) + edge("f", (100, 40), (200, 40)),
)


@pytest.fixture(scope="module")
def png():
    return convert_to_png(draw_model(XML.encode(), "m", dark=False).drawing)


def test_kitty(png):
    sequences = list(encode_kitty(png))
    assert len(sequences) > 1
    assert read_kitty(b"".join(sequences)) == png
    assert read_kitty(b"".join(encode_kitty(png[:100]))) == png[:100]


def test_iterm2(png):
    assert read_iterm2(b"".join(encode_iterm2(png))) == png


@pytest.mark.parametrize("height", [1, 5, 6, 7, 200])
def test_sixel(png, height):
    picture = open_png(png).crop((0, 0, 300, height))
    drawn = read_sixel(b"".join(encode_sixel(make_png(picture))))
    assert drawn.size == picture.size
    assert max(ImageStat.Stat(ImageChops.difference(drawn, picture)).mean) < 1.5  # of 255


def test_colours_of_sixels():
    picture = Image.new("RGB", (9, 8), (255, 0, 0))
    picture.paste((0, 0, 255), (3, 2, 9, 8))
    drawn = read_sixel(b"".join(encode_sixel(make_png(picture))))
    assert ImageChops.difference(drawn, picture).getbbox() is None
