"""The style sheet: every class that is drawn has a rule, and text can be read in light and dark."""

from __future__ import annotations

import re

import pytest

from tokctl.diagram.icons import STATES
from tokctl.diagram.style import style_sheet

LIGHT, DARK = style_sheet().split("@media (prefers-color-scheme:dark)")


def luminance(color):
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def color(sheet, selector):
    return re.search(rf"(?:^|,|\n){re.escape(selector)}[^{{]*{{[^}}]*(#[0-9a-f]{{6}})", sheet)[1]


@pytest.mark.parametrize("sheet", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(sheet):
    """A contrast of 4.5 is the minimum of WCAG 2.1 for text, 3 for graphics."""
    ink = color(sheet, "text")
    fills = [".paper", ".shape", ".visited>.shape", *(f".heat-{n}>.shape" for n in range(1, 6))]
    assert all(contrast(ink, color(sheet, fill)) >= 4.5 for fill in fills)
    assert all(contrast(color(sheet, ".sign"), color(sheet, f".state-{state}")) >= 4.5 for state in (*STATES, "other"))
    assert all(contrast(color(sheet, ".paper"), color(sheet, kind)) >= 3 for kind in (".taken", ".critical"))


def test_light_and_dark_have_the_same_rules():
    def selectors(sheet):
        return {rule for rule in re.findall(r"^([^{}\n]+){", sheet, re.MULTILINE) if f"\n{rule}{{" in DARK}

    assert selectors(LIGHT) == selectors(DARK) != set()
