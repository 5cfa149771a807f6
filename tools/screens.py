# ruff: noqa: INP001
"""Pictures of what the program prints, as SVG that needs no font from the net.

``pictures`` makes those of the documentation. ``python -m tools.screens FOLDER`` runs commands in a pseudo-terminal of
several widths and draws what they print in light and dark, to be looked at: as PNG if rsvg-convert (librsvg2-bin) is
installed.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
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
    "diagram": "diagram srv1-DPw",
}
DIAGRAMS = {
    "diagram-instance": "diagram srv1-DPw --format svg",
    "diagram-process": "diagram --process order-processing --heat time --format svg",
}
"""Commands that draw pictures themselves."""
ALL_SCREENS = {
    **SCREENS,
    "instances-show": "instances show @latest",
    "tokens-trace": "tokens trace @latest",
    "tokens-list-live": "tokens list @latest --live",
    "debug-all": "debug",
    "debug-instance": "debug @latest",
    "debug-by-finding": "debug --by finding",
    "debug-by-element": "debug --by element",
    "debug-by-error": "debug --by error",
    "debug-rules": "debug --list-rules",
    "explain-instance": "explain @latest",
    "diagram-process": "diagram --process order-processing --heat time",
    "perf-by-worker": "perf --by worker --limit 10",
    "store-info": "store info",
    "store-check": "store check",
    "doctor": "doctor",
    "api-tokens-list": "api-tokens list",
    "config-view": "config view",
    "help-list": "tokens list --help",
    "help-debug": "debug --help",
}
STUCK_JOIN = "issues[?type=='STUCK_GATEWAY_TOKENS'].tokens[-1].id | [0]"
WIDTHS = (50, 80, 120, 200)
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
WIDTH, HEIGHT, LEFT, TOP = 8.4, 18, 20, 60  # of a character and a line of 14px; where the text begins
DARK = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)
LIGHT = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        (36, 41, 47),
        (207, 34, 46),
        (17, 99, 41),
        (125, 78, 0),
        (9, 105, 218),
        (130, 80, 223),
        (27, 124, 131),
        (110, 119, 129),
    ],
)
ENVIRONMENT = {
    "COLUMNS": str(COLUMNS),
    "TERMINAL_WIDTH": str(COLUMNS),
    "FORCE_COLOR": "1",
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    "TOKCTL_PAGER": "",
    "TZ": "UTC",
}


def pictures() -> Iterator[tuple[str, str]]:
    """The name and the SVG of each picture, made on the store of the demo at a fixed moment."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, ENVIRONMENT):
        os.environ.pop("NO_COLOR", None)
        time.tzset()
        os.environ["TOKCTL_STORE"] = str(Path(folder) / "demo.db")
        output("demo --no-pause --store", os.environ["TOKCTL_STORE"])
        token = output("tokens list @latest --type task --live -o id").split()[0]
        join = output("debug -r STUCK_GATEWAY_TOKENS --by finding -o csv", "--query", STUCK_JOIN).strip()
        for name, line in SCREENS.items():
            shown = line.replace("TOKEN", token).replace("JOIN", join)
            yield name, picture(f"tokctl {shown}", output(shown, "--color", "always"))
        for name, line in DIAGRAMS.items():
            drawn = output(line)
            yield name, drawn.replace("<style>", f"<!-- {MAKERS} -->\n<style>", 1)


class TerminalStream(io.TextIOWrapper):
    """A stream in memory that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def output(line: str, *more: str, now: datetime = NOW) -> str:
    """What a command line prints."""
    from tokctl.__main__ import run

    stream = TerminalStream(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(stream), redirect_stderr(io.StringIO()) as said:
        code = run([*line.split(), *more], clock=lambda: now)
    if code:
        raise SystemExit(f"tokctl {line} ended with {code}: {said.getvalue()}")
    stream.flush()
    return stream.buffer.getvalue().decode()


def picture(title: str, printed: str, *, columns: int = COLUMNS, theme: TerminalTheme = DARK) -> str:
    """An SVG of a terminal with that title and text. Each run of words starts at its own column."""
    console = Console(width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    rows = []
    lines = [Text.from_ansi(line) for line in printed.rstrip().split("\n")]
    while not lines[0].plain.strip():
        del lines[0]
    for row, line in enumerate(lines):
        column = 0
        for segment in line.render(console, end=""):
            for run in re.finditer(r"[╮╯]|[^\s╮╯]+(?: [^\s╮╯]+)*", segment.text):
                x, y = LEFT + (column + run.start()) * WIDTH, TOP + row * HEIGHT
                rows.append(
                    f'<text x="{x:g}" y="{y:g}" textLength="{len(run[0]) * WIDTH:g}"{look(segment.style, theme)}>'
                    f"{escape(run[0])}</text>"
                )
            column += len(segment.text)
    wide, high = 2 * LEFT + columns * WIDTH, TOP + len(lines) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" role="img">\n'
        f"<title>{escape(title)}</title>\n<!-- {MAKERS} -->\n"
        f"<style>text {{ font: 14px {FONT}; fill: {theme.foreground_color.hex}; }}</style>\n"
        f'<rect width="{wide:g}" height="{high:g}" rx="8" fill="{theme.background_color.hex}"/>\n'
        f'<text x="{LEFT:g}" y="{HEIGHT + 4:g}"><tspan fill="#8b949e">$</tspan> {escape(title)}</text>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def look(style: Any, theme: TerminalTheme) -> str:
    """A style as the attributes of an SVG text."""
    if not style:
        return ""
    fill = style.color.get_truecolor(theme).hex if style.color and not style.color.is_default else ""
    rules = (
        ("font-weight:bold",) * bool(style.bold) + ("opacity:.6",) * bool(style.dim) + (f"fill:{fill}",) * bool(fill)
    )
    return f' style="{";".join(rules)}"' if rules else ""


def run_in_terminal(words: list[str], columns: int) -> str:
    """What a command prints in a pseudo-terminal of 50 lines."""
    process, terminal = pty.fork()
    if not process:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        os.environ.pop("COLUMNS", None)
        os.execv(sys.executable, [sys.executable, "-m", "tokctl", *words])  # noqa: S606
    printed = b""
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            break
        printed += data
    os.close(terminal)
    os.waitpid(process, 0)
    return printed.decode(errors="replace").replace("\r\n", "\n")


def main() -> int:
    """Draw every screen in every width and theme."""
    parser = argparse.ArgumentParser(description="Draw what the commands print, to be looked at.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="screens whose names contain this")
    parser.add_argument("--store", help="the store to show (default: that of the demo)")
    options = parser.parse_args()
    now = datetime.now(UTC)
    options.folder.mkdir(parents=True, exist_ok=True)
    convert = shutil.which("rsvg-convert")
    if convert is None:
        sys.stderr.write("rsvg-convert is not installed (Debian: librsvg2-bin); writing SVG instead of PNG.\n")
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, {"TERM": "xterm-256color", "TOKCTL_PAGER": ""}):
        os.environ |= {"HOME": home, "TOKCTL_STORE": options.store or str(Path(home) / "demo.db")}
        if options.store is None:
            output("demo --no-pause --store", os.environ["TOKCTL_STORE"], now=now)
        token = output("tokens list @latest --type task --live -o id", now=now).split()[0]
        join = output("debug -r STUCK_GATEWAY_TOKENS --by finding -o csv", "--query", STUCK_JOIN, now=now).strip()
        for name, line in ALL_SCREENS.items():
            if options.only not in name:
                continue
            words = line.replace("TOKEN", token).replace("JOIN", join).split()
            for columns in WIDTHS:
                printed = run_in_terminal(words, columns)
                for theme_name, theme in (("dark", DARK), ("light", LIGHT)):
                    svg = picture(f"tokctl {' '.join(words)}", printed, columns=columns, theme=theme)
                    draw(svg, options.folder / f"{name}-{columns}-{theme_name}", convert)
    return 0


def draw(svg: str, path: Path, convert: str | None) -> None:
    """Write a picture as PNG, or as SVG without a program that converts it."""
    if convert is None:
        path.with_suffix(".svg").write_text(svg, encoding="utf-8")
        return
    subprocess.run([convert, "-o", path.with_suffix(".png")], input=svg.encode(), check=True)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
