# ruff: noqa: INP001
"""Pictures of what the program prints, as SVG that needs no font from the net."""

from __future__ import annotations

import io
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.sax.saxutils import escape

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

MAKERS = ", ".join(f"{name} {version(name)}" for name in ("rich", "typer", "SpiffWorkflow"))
COLUMNS = 120
NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
SCREENS = {
    "help": "--help",
    "instances-list": "instances list -n 12",
    "tokens-list": "tokens list @latest",
    "tokens-tree": "tokens tree @latest",
    "tokens-history": "tokens history @latest",
    "tokens-show": "tokens show @latest TOKEN",
    "debug": "debug --severity high",
    "explain": "explain JOIN",
    "flow": "flow @latest",
    "perf": "perf --limit 10",
}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
WIDTH, HEIGHT, LEFT, TOP = 8.4, 18, 20, 60  # of a character and a line of 14px; where the text begins
THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34),
     (88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)],
)  # fmt: skip
ENVIRONMENT = {
    "COLUMNS": str(COLUMNS),
    "TERMINAL_WIDTH": str(COLUMNS),
    "FORCE_COLOR": "1",
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    "TZ": "UTC",
}


def pictures() -> Iterator[tuple[str, str]]:
    """The name and the SVG of each picture, made on the store of the demo at a fixed moment."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, ENVIRONMENT):
        os.environ.pop("NO_COLOR", None)
        time.tzset()
        os.environ["TOKCTL_STORE"] = str(Path(folder) / "demo.db")
        output("demo --store", os.environ["TOKCTL_STORE"])
        token = output("tokens list @latest --type task --live -o id").split()[0]
        stuck = "issues[?type=='STUCK_GATEWAY_TOKENS'].tokens[-1].id | [0]"
        join = output("debug -r STUCK_GATEWAY_TOKENS -o csv", "--query", stuck).strip()
        for name, line in SCREENS.items():
            shown = line.replace("TOKEN", token).replace("JOIN", join)
            yield name, picture(f"tokctl {shown}", output(shown, "--color", "always"))


def output(line: str, *more: str) -> str:
    """What a command line prints."""
    from tokctl.__main__ import run

    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(stream), redirect_stderr(io.StringIO()) as said:
        code = run([*line.split(), *more], clock=lambda: NOW)
    if code:
        raise SystemExit(f"tokctl {line} ended with {code}: {said.getvalue()}")
    stream.flush()
    return stream.buffer.getvalue().decode()


def picture(title: str, printed: str) -> str:
    """An SVG of a terminal with that title and text. Each run of words stands at its own column."""
    console = Console(width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    rows = []
    lines = [Text.from_ansi(line) for line in printed.rstrip().split("\n")]
    while not lines[0].plain.strip():
        del lines[0]
    for row, line in enumerate(lines):
        column = 0
        for segment in line.render(console, end=""):
            for run in re.finditer(r"[╮╯]|[^\s╮╯]+(?: [^\s╮╯]+)*", segment.text):
                x, y = LEFT + (column + run.start()) * WIDTH, TOP + row * HEIGHT
                rows.append(f'<text x="{x:g}" y="{y:g}" textLength="{len(run[0]) * WIDTH:g}"{look(segment.style)}>'
                            f"{escape(run[0])}</text>")  # fmt: skip
            column += len(segment.text)
    wide, high = 2 * LEFT + COLUMNS * WIDTH, TOP + len(lines) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" role="img">\n'
        f"<title>{escape(title)}</title>\n<!-- {MAKERS} -->\n"
        f"<style>text {{ font: 14px {FONT}; fill: {THEME.foreground_color.hex}; }}</style>\n"
        f'<rect width="{wide:g}" height="{high:g}" rx="8" fill="{THEME.background_color.hex}"/>\n'
        f'<text x="{LEFT:g}" y="{HEIGHT + 4:g}"><tspan fill="#8b949e">$</tspan> {escape(title)}</text>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def look(style: Any) -> str:
    """A style as the attributes of an SVG text."""
    if not style:
        return ""
    fill = style.color.get_truecolor(THEME).hex if style.color and not style.color.is_default else ""
    rules = (
        ("font-weight:bold",) * bool(style.bold) + ("opacity:.6",) * bool(style.dim) + (f"fill:{fill}",) * bool(fill)
    )
    return f' style="{";".join(rules)}"' if rules else ""
