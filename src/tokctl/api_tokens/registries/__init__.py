"""Registries: where API tokens are kept. Each kind is one module, imported when it is used.

A registry that is not a server has ``open_registry(settings, clock, *, write, warn)`` in its module and one line in
``REGISTRIES``. A server with the documented API, or a part of it, has ``KIND``, a ``server_kind.ServerKind``, in its
module and one line in ``SERVER_KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.errors import UsageError

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry
    from tokctl.api_tokens.registries.server_kind import ServerKind
    from tokctl.config import Settings

SERVER_KINDS = {
    "tokctl": "tokctl.api_tokens.registries.tokctl",
    "xivercms": "tokctl.api_tokens.registries.xivercms",
}
"""Kind of server → module, in the order in which they are tried. The last one stands for unknown servers, too."""

REGISTRIES = {"store": "tokctl.api_tokens.registries.store"} | SERVER_KINDS
"""Kind of registry → module."""


def load_server_kinds() -> list[ServerKind]:
    """Return the kinds of servers, in the order in which they are tried."""
    return [import_module(module).KIND for module in SERVER_KINDS.values()]


def open_registry(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    write: bool = False,
    warn: Callable[[str], object],
) -> Registry:
    """Open the registry that the settings name: a store, or a server, which is not contacted yet.

    With ``write`` a missing store is created. Raises UsageError: the source in the settings has no API tokens.
    """
    from_environment = settings.origins.get("registry_server", "").startswith("environment")
    if from_environment and settings.flag_names & {"store", "file", "server", "context"}:
        # Options of the command line take precedence over the environment.
        settings = replace(settings, registry_server=None, registry_credential=None)
    if settings.registry_server is not None or settings.kind == "server":
        from tokctl.api_tokens.registries.http import HttpRegistry
        from tokctl.api_tokens.vaults.credentials import resolve_connection

        return HttpRegistry(resolve_connection(settings, registry=True, warn=warn), load_server_kinds(), clock, warn)
    if settings.kind not in REGISTRIES:
        raise UsageError("--file is for process tokens only. API tokens are in a store or on a server.", "Remove it.")
    registry: Registry = import_module(REGISTRIES[settings.kind]).open_registry(settings, clock, write=write, warn=warn)
    return registry
