"""Texts are in plain English: the program's messages, docstrings and help, and the documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from support.paths import ROOT
from tokctl.cli.command_tree import root_command

BANNED = (
    r"unless told",
    r"as it (was|were|stood|came)",
    r"so (many|much)",
    r"for so long",
    r"look(s|ing)? after",
    r"(has|have|had) not come to (its|their) end",
    r"come to (its|their) end",
    r"gives? up",
    r"be told",
    r"is told",
    r"are told (of|below|above|apart|one)",
    r"whose inside",
    r"(who|what)ever",
    r"must needs",
    r"be it",
    r"anew",
    r"nobody",
    r"somebody",
    r"heeds?",
    r"mend(s|ed|ing)?",
    r"in place of",
    r"in trouble",
    r"of which",
    r"nothing but",
    r"the business of",
    r"thereby",
    r"what to call it",
    r"what is to",
    r"what it depends on",
    r"what (people|nobody) (see|said)",
    r"means nothing",
    r"(can go|goes) on",
    r"cannot (mean|be: )",
    r"names nothing",
    r"nothing found",
    r"nothing (happened|took)",
    r"two looks",
    r"last look",
    r"look further",
    r"there again",
    r"leave it out",
    r"leave (one|one of them) out",
    r"say --?\w",
    r"said",
    r"say which",
    r"lies (behind|in the future)",
    r"stands? (at|before|beside|alone)",
    r"where it stands",
    r"is gone",
    r"time ran out",
    r"may be repeated",
    r"the usual one",
    r"everything is in order",
    r"a fault in",
    r"(?<!there )is no (?!longer\b)",
    r"goes nowhere",
    r"no terminal to ask at",
    r"what it allows",
    r"only those (that|whose)",
    r"takes? what",
    r"this is one thing",
)
"""Patterns of words and constructions that the texts do not use."""
_BANNED = re.compile(r"(?<!\w)(?:" + "|".join(BANNED) + r")(?!\w)", re.IGNORECASE)

GENERATED = {"commands.md", "scripting.md"}
"""Pages made from help texts and docstrings, which are checked themselves."""


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), f"{path} {name}")


def help_texts(command: click.Command) -> Iterator[str]:
    yield from filter(None, (command.help, command.short_help, command.epilog))
    for parameter in command.params:
        yield from filter(None, (getattr(parameter, "help", None), getattr(parameter, "rich_help_panel", None)))


def texts(path: Path) -> Iterator[str]:
    """Yield a page without its code blocks, or the string literals of a module, docstrings included."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield re.sub(r"```.*?```", "", source, flags=re.DOTALL)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def find(text: str) -> list[str]:
    """Return the banned phrases in a text, with their surroundings."""
    line = " ".join(text.split())
    return [line[max(one.start() - 40, 0) : one.end() + 40] for one in _BANNED.finditer(line)]


def checked_files() -> list[Path]:
    modules = (ROOT / "src").rglob("*.py")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "bench" / "README.md"]
    return sorted([*modules, *(ROOT / "tools").glob("*.py"), *(page for page in pages if page.name not in GENERATED)])


@pytest.mark.parametrize("path", checked_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_in_plain_english(path):
    assert [found for text in texts(path) for found in find(text)] == []


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*one, id=one[0]) for one in commands(root_command(), "tokctl")]
)
def test_help_is_in_plain_english(path, command):
    assert [found for text in help_texts(command) for found in find(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "At most so many; 0 for all. Tables show 100 unless told, other formats all.",
        "Trust any certificate: whoever sits between can read and change all.",
        "--columns is for lists, and this is one thing.",
        "in sub-processes, whose inside is told above",
    ],
)
def test_the_old_style_is_found(text):
    assert find(text)


def test_plain_english_passes():
    assert not find("Maximum number of rows, 0 for all (default: 100 in tables on a terminal, otherwise all).")
