"""The style sheet of a picture: light, and dark for readers who prefer that (Media Queries Level 5)."""

from __future__ import annotations

from msgspec import Struct

FONT = "Arial, 'Liberation Sans', 'Helvetica Neue', 'Noto Sans', 'DejaVu Sans', sans-serif"


class _Palette(Struct, frozen=True, kw_only=True):
    """Colours: of lines and text, of what is behind shapes and in them, and of what happened.

    ``heat`` is from little to much; ``sign`` is the colour of what is on a badge.
    """

    ink: str
    paper: str
    fill: str
    shade: str
    sign: str
    visited: str
    unreached: str
    taken: str
    critical: str
    heat: tuple[str, ...]
    states: dict[str, str]

    def rules(self) -> str:
        """Return the CSS."""
        rules = [
            f"svg{{color:{self.ink}}}",
            f"text,tspan{{fill:{self.ink}}}",
            f".paper,.pool,.pill{{fill:{self.paper}}}",
            f".shape,.hollow{{fill:{self.fill}}}",
            f".shaded{{fill:{self.shade}}}",
            f".gap{{stroke:{self.paper}}}",
            f".cut{{stroke:{self.fill}}}",
            f".pill{{stroke:{self.ink}}}",
            f".sign,.badge tspan{{fill:{self.sign}}}",
            f".visited>.shape{{fill:{self.visited}}}",
            f".unreached{{color:{self.unreached}}}",
            f".unreached tspan{{fill:{self.unreached}}}",
            f".taken{{color:{self.taken}}}",
            f".critical{{color:{self.critical}}}",
        ]
        rules += [f".heat-{n}>.shape{{fill:{color}}}" for n, color in enumerate(self.heat, 1)]
        rules += [f".state-{name}{{color:{color}}}" for name, color in self.states.items()]
        return "\n".join(rules) + "\n"


_LIGHT = _Palette(
    ink="#22252b",
    paper="#ffffff",
    fill="#ffffff",
    shade="#d3d7dd",
    sign="#ffffff",
    visited="#e1ecfb",
    unreached="#8b919b",
    taken="#1b5fb8",
    critical="#8a2fc4",
    heat=("#fff4d6", "#ffe1a1", "#ffc56e", "#f9a154", "#ee7f42"),
    states={"ACTIVE": "#12703a", "WAITING": "#8a5a00", "SUSPENDED": "#5b6270", "FAILED": "#b3221b", "other": "#5b6270"},
)
_DARK = _Palette(
    ink="#e3e6ea",
    paper="#16181d",
    fill="#20242b",
    shade="#454c58",
    sign="#16181d",
    visited="#1d3553",
    unreached="#7b828d",
    taken="#7db1f5",
    critical="#cf93f5",
    heat=("#38311a", "#4c3a18", "#644318", "#7a4617", "#8f4616"),
    states={"ACTIVE": "#4cc07d", "WAITING": "#f0b849", "SUSPENDED": "#aab1bd", "FAILED": "#ff8a80", "other": "#aab1bd"},
)
_GEOMETRY = f"""\
svg{{font:12px {FONT}}}
text{{text-anchor:middle}}
.small{{font-size:11px}}
.start{{text-anchor:start}}
.title{{font-size:14px;font-weight:bold}}
.count{{font-size:11px;font-weight:bold}}
.shape,.hollow,.shaded{{stroke:currentColor}}
.line,.bars,.bold{{fill:none;stroke:currentColor}}
.bars{{stroke-width:2}}
.bold,.thick{{stroke-width:3}}
.cut,.gap,.empty{{fill:none}}
.double{{stroke-width:4}}
.gap{{stroke-width:2}}
.solid{{fill:currentColor}}
.dashed{{stroke-dasharray:5 3}}
.dotted{{stroke-dasharray:1.5 3}}
.dashdotted{{stroke-dasharray:9 4 1.5 4}}
.live>.shape,.taken>.line{{stroke-width:3}}
.critical>.line{{stroke-width:5}}
"""


def style_sheet(*, dark: bool = True) -> str:
    """Return the CSS. Without ``dark``, as for a PNG, there is the light half only."""
    return _GEOMETRY + _LIGHT.rules() + f"@media (prefers-color-scheme:dark){{\n{_DARK.rules()}}}\n" * dark
