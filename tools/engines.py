# ruff: noqa: INP001
"""The page docs/engines.md: what each kind of engine can tell, from the capabilities that the engines declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tools.reference import escape

from tokctl.engines import ENGINES
from tokctl.engines.capabilities import FEATURES, EngineCapabilities, load_capabilities

PAGE = "docs/engines.md"
HEAD = """\
# What each engine can tell

<!-- Made by 'make docs' from the program. -->

tokctl shows only what an engine records, or what follows from it. What an engine cannot tell is shown as unknown (`?`).
`tokctl engines` prints this table, `tokctl engines KIND` the notes. [Servers and contexts](servers.md) describes how
the kind of a server is detected.

| | |
|---|---|
| **yes** | the engine records it, or its API does it |
| **derived** | tokctl works it out from what the engine records, and marks it where it may be wrong |
| **partly** | only in the cases that the note names |
| no | the engine cannot tell |

"""


def page() -> str:
    """Return the page as Markdown."""
    found = {kind: load_capabilities(kind) for kind in ENGINES}
    parts = [HEAD, *comparison(found)]
    for kind, capabilities in found.items():
        parts.append(f"\n## {kind}\n\n{escape(capabilities.title)}.\n\n| feature | | |\n|---|---|---|\n")
        parts += notes(capabilities)
    return "".join(parts)


def comparison(found: dict[str, EngineCapabilities]) -> Iterator[str]:
    """Yield the lines of the table of features, with a column for each kind of engine."""
    yield from row(["feature", *(f"`{kind}`" for kind in found)])
    yield from row(["---"] * (len(found) + 1))
    for name, feature in FEATURES.items():
        yield from row([escape(feature.meaning), *(strong(able[name].support) for able in found.values())])


def notes(capabilities: EngineCapabilities) -> Iterator[str]:
    """Yield the rows of the features of one kind of engine that need a note."""
    for name, feature in FEATURES.items():
        able = capabilities[name]
        if able.note:
            yield from row([escape(feature.meaning), strong(able.support), escape(able.note)])


def strong(support: str) -> str:
    """Return a value in bold, unless it is no."""
    return support if support == "no" else f"**{support}**"


def row(cells: Iterable[str]) -> Iterator[str]:
    """Yield one line of a table."""
    yield f"| {' | '.join(cells)} |\n"
