"""The kinds of vaults: the one place where they are listed. ``tokctl.api_tokens.vaults`` opens them.

To add one, write a module with ``open_source(place, account)`` if secrets can be read from it, and with
``open_sink(place, account, *, may_replace)`` if they can be written to it, and add a line to ``VAULTS``. The table is
separate from the vaults because the configuration, which the vaults read, checks credentials against it.
"""

from __future__ import annotations

from typing import NamedTuple


class VaultKind(NamedTuple):
    """A kind of vault: its module, and what follows the colon in a place, empty if there is no colon."""

    module: str
    argument: str = ""
    is_source: bool = True
    is_sink: bool = True


VAULTS = {
    "keyring": VaultKind("tokctl.api_tokens.vaults.keyring"),
    "env": VaultKind("tokctl.api_tokens.vaults.env", "NAME", is_sink=False),
    "file": VaultKind("tokctl.api_tokens.vaults.file", "PATH"),
    "env-file": VaultKind("tokctl.api_tokens.vaults.env_file", "PATH", is_source=False),
    "command": VaultKind("tokctl.api_tokens.vaults.command", "WORDS"),
}
"""Name, as in ``file:PATH`` → kind. Messages list them in this order."""

SOURCES = {name: kind for name, kind in VAULTS.items() if kind.is_source}
SINKS = {name: kind for name, kind in VAULTS.items() if kind.is_sink}


def format_syntax(kinds: dict[str, VaultKind]) -> str:
    """Return how places in these kinds are written: ``keyring, env:NAME or file:PATH``."""
    *others, last = (f"{name}:{kind.argument}" if kind.argument else name for name, kind in kinds.items())
    return f"{', '.join(others)} or {last}"


SOURCE_SYNTAX = format_syntax(SOURCES)
SINK_SYNTAX = format_syntax(SINKS)
