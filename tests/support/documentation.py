"""What the documentation shows: its pages, their fences, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from support.paths import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SHELL_SIGNS = set("|&;<>()")


class Fence(NamedTuple):
    """A fenced block: its language, the file name in ``title="…"`` ('' for none), its text, its first line's number."""

    language: str
    title: str
    text: str
    line: int


class CommandLine(NamedTuple):
    """A command line of a page; ``code`` is the exit code that its comment promises (``# exit code 1: …``)."""

    place: str
    text: str
    code: int

    @property
    def words(self) -> list[str] | None:
        """The words, redirections included; None for a line that only a shell can run."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars=True)
        lexer.commenters, lexer.whitespace_split = "#", True
        words = list(lexer)
        signs = {word for word in words if SHELL_SIGNS.issuperset(word)}
        return None if "$" in self.text or words[0] != "tokctl" or signs - {"<", ">"} else words


def fences(page: Path) -> list[Fence]:
    """Every fenced block of a page, with the indentation of the fence taken off."""
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        opening = re.fullmatch(r'( *)(`{3,})(\w*)(?: title="(.*)")?', line)
        if opening is None:
            assert not line.lstrip().startswith("```"), f"{page.name}:{number}: a fence that is not understood"
            continue
        indent, ticks, language, title = opening.groups()
        body = []
        for _, inner in numbered:
            if inner == indent + ticks:
                break
            body.append(inner.removeprefix(indent))
        found.append(Fence(language, title or "", "\n".join(body) + "\n", number + 1))
    return found


def command_lines(page: Path) -> list[CommandLine]:
    """The lines behind ``$`` in a page's ``console`` fences, those that go on in the next line joined."""
    return [line for fence in fences(page) for line in command_lines_of(fence, page.name)]


def command_lines_of(fence: Fence, page: str) -> list[CommandLine]:
    """The command lines of one fence; none if it is not a ``console`` fence."""
    if fence.language != "console":
        return []
    found = []
    joined = re.sub(r"\\\n\s*", lambda match: "\0" * match[0].count("\n"), fence.text)
    for offset, line in enumerate(joined.splitlines()):
        if line.startswith("$ "):
            code = re.search(r"#.*exit code (\d+)", line)
            text = line[2:].replace("\0", "")
            found.append(CommandLine(f"{page}:{fence.line + offset}", text, int(code[1]) if code else 0))
    return found
