"""Engines: where process tokens are read from. ``process.engine`` says what an engine answers.

Each kind is one module with ``open_engine(settings, reading)``, imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from tokctl.engines.base import Reading

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.process.engine import Engine

ENGINES = {
    "store": "tokctl.engines.local",
    "file": "tokctl.engines.file",
    "rest": "tokctl.engines.rest",
    "atomd": "tokctl.engines.atomd",
}
"""Kind → module."""


def open_engine(settings: Settings, reading: Reading = Reading.TOKENS) -> Engine:
    """Open the engine that the settings name: a saved answer, a store, or a server of some kind.

    Raises:
        UsageError: the settings contradict themselves, or name a kind that nobody knows.
        UnreachableError: what kind of server it is has to be asked, and it does not answer.
    """
    kind: str = settings.kind
    if kind == "server":
        from tokctl.engines.recognise import kind_of

        kind = kind_of(settings)
    return cast("Engine", import_module(ENGINES[kind]).open_engine(settings, reading))
