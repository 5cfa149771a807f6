"""Services know no terminal: what they import, and what they call."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tokctl.services

TERMINAL_MODULES = {"typer", "click", "rich", "getpass", "termios", "tokctl.cli", "tokctl.render"}
SERVICES = sorted(Path(tokctl.services.__file__).parent.rglob("*.py"))


def uses_of_terminal(source: str) -> list[str]:
    """Return the terminal modules that a source imports, and its uses of standard streams, print and input."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
        elif isinstance(node, ast.Attribute) and node.attr in {"stdin", "stdout", "stderr"}:
            if isinstance(node.value, ast.Name) and node.value.id == "sys":
                found.append(f"sys.{node.attr}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "input"}:
            found.append(node.func.id)
        found += [name for name in names if name in TERMINAL_MODULES or name.partition(".")[0] in TERMINAL_MODULES]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import rich.table",
        "from rich.console import Console",
        "from tokctl.render import emit",
        "from tokctl import cli",
        "def f():\n import sys\n sys.stdout.write('')",
        "print(1)",
    ],
)
def test_a_use_is_seen(source):
    assert uses_of_terminal(source)


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_has_none(path):
    assert not uses_of_terminal(path.read_text(encoding="utf-8"))
