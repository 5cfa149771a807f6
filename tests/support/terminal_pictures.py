"""Reads the pictures in what a program writes to a terminal."""

from __future__ import annotations

import io
import re
from base64 import b64decode

from PIL import Image


def read_kitty(raw: bytes) -> bytes:
    """Return the PNG in sequences of the kitty protocol. Raises AssertionError: they are not as documented."""
    chunks = re.findall(rb"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", raw)
    chunks = [(dict(pair.split(b"=") for pair in keys.split(b",")), data) for keys, data in chunks]
    shown = [(keys, data) for keys, data in chunks if keys.get(b"a") != b"q"]
    first, *rest = (keys for keys, _ in shown)
    assert first | {b"a": b"T", b"f": b"100"} == first
    assert all(keys.keys() <= {b"m", b"q"} for keys in rest)
    assert [keys[b"m"] for keys, _ in shown] == [b"1"] * (len(shown) - 1) + [b"0"]
    assert all(len(data) <= 4096 and len(data) % 4 == 0 for _, data in shown)
    return b64decode(b"".join(data for _, data in shown), validate=True)


def read_iterm2(raw: bytes) -> bytes:
    """Return the PNG in a sequence of iTerm2's protocol."""
    size, keys, data = re.search(rb"\x1b\]1337;File=inline=1;size=(\d+)([^:]*):([^\x07]*)\x07", raw).groups()
    assert keys == b";width=auto;height=auto"
    png = b64decode(data, validate=True)
    assert len(png) == int(size)
    return png


def read_sixel(raw: bytes) -> Image.Image:
    """Return the picture in sixels."""
    start = re.search(rb'\x1bP0;1q"1;1;(\d+);(\d+)', raw)
    body = raw[start.end() : raw.index(b"\x1b\\", start.end())]
    picture = Image.new("RGB", (int(start[1]), int(start[2])), (1, 2, 3))
    colors, color, x, top = {}, 0, 0, 0
    for key, *numbers, run, sign in re.findall(rb"(#)(\d+)(?:;2;(\d+);(\d+);(\d+))?|(?:!(\d+))?([?-~$-])", body):
        if key and numbers[1]:
            colors[int(numbers[0])] = tuple(round(int(part) * 255 / 100) for part in numbers[1:])
        elif key:
            color = int(numbers[0])
        elif sign == b"$":
            x = 0
        elif sign == b"-":
            x, top = 0, top + 6
        else:
            bits = [n for n in range(6) if sign[0] - 63 >> n & 1]
            for column in range(x, x + int(run or 1)):
                for n in bits:
                    picture.putpixel((column, top + n), colors[color])
            x += int(run or 1)
    return picture


def open_png(png: bytes) -> Image.Image:
    """Return the picture in a PNG."""
    return Image.open(io.BytesIO(png)).convert("RGB")


def make_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
