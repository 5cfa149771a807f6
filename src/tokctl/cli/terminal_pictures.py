"""Writes a PNG to a terminal: by the protocol of kitty, that of iTerm2, or as sixels."""

from __future__ import annotations

import io
from base64 import standard_b64encode
from collections.abc import Iterator

from tokctl.errors import UsageError

CHUNK = 4096
"""Bytes of base64 in one sequence of the kitty protocol."""
SIXEL_COLORS = 128
_BAND = 6
"""Rows of pixels in a sixel."""


def encode_kitty(png: bytes) -> Iterator[bytes]:
    """Yield the sequences that show a PNG (https://sw.kovidgoyal.net/kitty/graphics-protocol/)."""
    data = standard_b64encode(png)
    for start in range(0, len(data), CHUNK):
        keys = b"a=T,f=100,q=2," if start == 0 else b""
        more = start + CHUNK < len(data)
        yield b"\x1b_G%sm=%d;%s\x1b\\" % (keys, more, data[start : start + CHUNK])


def encode_iterm2(png: bytes) -> Iterator[bytes]:
    """Yield the sequence that shows a PNG at its own size (https://iterm2.com/documentation-images.html)."""
    yield b"\x1b]1337;File=inline=1;size=%d;width=auto;height=auto:" % len(png)
    yield standard_b64encode(png)
    yield b"\x07"


def encode_sixel(png: bytes) -> Iterator[bytes]:
    """Yield the sequences that show a PNG as sixels (DEC STD 070, chapter 6), in at most SIXEL_COLORS colours.

    Raises:
        UsageError: the library that reads the PNG is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(
            "sixel pictures need Pillow, which is not installed.", "Install it: pip install 'tokctl[png]'."
        ) from None
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(SIXEL_COLORS, dither=Image.Dither.NONE)
    palette = picture.getpalette() or []
    width, height = picture.size
    pixels = picture.tobytes()
    yield b'\x1bP0;1q"1;1;%d;%d' % (width, height)
    for color in sorted(set(pixels)):
        red, green, blue = (round(part * 100 / 255) for part in palette[3 * color : 3 * color + 3])
        yield b"#%d;2;%d;%d;%d" % (color, red, green, blue)
    for top in range(0, height, _BAND):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + _BAND, height))]
        yield b"$".join(b"#%d%s" % (color, _encode_band(rows, color)) for color in sorted(set(b"".join(rows)))) + b"-"
    yield b"\x1b\\"


def _encode_band(rows: list[bytes], color: int) -> bytes:
    """Return the sixels of one colour in at most six rows: a bit for each row, 63 added, runs shortened."""
    table = bytes(n == color for n in range(256))
    bits = bytearray(len(rows[0]))
    for n, row in enumerate(rows):
        if color in row:
            shifted = int.from_bytes(row.translate(table)) << n
            bits = bytearray((int.from_bytes(bits) | shifted).to_bytes(len(row)))
    signs = bytes(bits).translate(bytes((n + 63) % 256 for n in range(256))).rstrip(b"?")
    encoded = bytearray()
    start = 0
    while start < len(signs):
        end = start + 1
        while end < len(signs) and signs[end] == signs[start]:
            end += 1
        run = signs[start : start + 1]
        encoded += b"!%d%s" % (end - start, run) if end - start > 3 else run * (end - start)
        start = end
    return bytes(encoded)
