"""Engines: where process tokens are read from. ``engines.protocol`` describes what an engine is.

Each kind is one module, imported when it is used, with ``open_engine(settings, reading)`` and ``CAPABILITIES``. That of
a server also has ``PROBE``, ``ROOTS`` and ``recognizes(document)``, by which ``detection`` recognizes it, and
``CREDENTIAL_PROBE``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tokctl.engines.projection import Projection
from tokctl.kinds import SERVER_ENGINES

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.engines.protocol import Engine

ENGINES = {"store": "tokctl.engines.store", "file": "tokctl.engines.file", **SERVER_ENGINES}
"""Kind → module."""


def open_engine(settings: Settings, reading: Projection = Projection.TOKENS) -> Engine:
    """Open the engine that the settings name: a saved answer, a store, or a server of some kind.

    Raises:
        UsageError: the settings conflict, or name an unknown kind.
        UnreachableError: the kind of a server must be detected, but the server does not respond.
    """
    kind: str = settings.kind
    if kind == "server":
        from tokctl.engines.detection import resolve_server

        settings = resolve_server(settings)
        kind = settings.engine_kind or kind
    engine: Engine = import_module(ENGINES[kind]).open_engine(settings, reading)
    return engine
