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

ENGINES = {"store": "tokctl.engines.local", "file": "tokctl.engines.file"}
"""Kind → module."""


def open_engine(settings: Settings, reading: Reading = Reading.TOKENS) -> Engine:
    """Open the engine that the settings name: a saved answer if there is one, else the store."""
    kind = "store" if settings.file is None else "file"
    return cast("Engine", import_module(ENGINES[kind]).open_engine(settings, reading))
