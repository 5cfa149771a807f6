# ruff: noqa: INP001
"""The page docs/engines.md: what each kind of engine can tell, from the capabilities that the engines declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tools.reference import escape

from tokctl.capabilities import Feature
from tokctl.cli.capability_tables import Capabilities
from tokctl.engines import ENGINES
from tokctl.engines.capabilities import FEATURES, load_capabilities

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
    parts = [HEAD, *comparison(found, FEATURES)]
    for kind, capabilities in found.items():
        parts.append(f"\n## {kind}\n\n{escape(capabilities.title)}.\n\n| feature | | |\n|---|---|---|\n")
        parts += notes(capabilities, FEATURES)
    return "".join(parts)


def comparison(found: Mapping[str, Capabilities], features: Mapping[str, Feature]) -> Iterator[str]:
    """Yield the lines of the table of features, with a column for each kind."""
    yield from row(["feature", *(f"`{kind}`" for kind in found)])
    yield from row(["---"] * (len(found) + 1))
    for name, feature in features.items():
        yield from row([escape(feature.meaning), *(strong(able[name].support) for able in found.values())])


def notes(capabilities: Capabilities, features: Mapping[str, Feature]) -> Iterator[str]:
    """Yield the rows of the features of one kind that need a note."""
    for name, feature in features.items():
        able = capabilities[name]
        if able.note:
            yield from row([escape(feature.meaning), strong(able.support), escape(able.note)])


def strong(support: str) -> str:
    """Return a value in bold, unless it is no."""
    return support if support == "no" else f"**{support}**"


def row(cells: Iterable[str]) -> Iterator[str]:
    """Yield one line of a table."""
    yield f"| {' | '.join(cells)} |\n"
