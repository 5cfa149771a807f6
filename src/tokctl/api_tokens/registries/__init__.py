"""Registries: where API tokens are kept. Each kind is one module, imported when it is used.

A registry that is not a server has ``CAPABILITIES`` and ``open_registry(settings, clock, *, write, warn)`` in its
module, and one line in ``capabilities.REGISTRIES``. A server has ``KIND``, a ``server_kind.ServerKind``, in its module,
and one line in ``kinds.SERVER_REGISTRIES``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.api_tokens.registries.capabilities import REGISTRIES as REGISTRIES
from tokctl.errors import MissingStoreError, UsageError

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry
    from tokctl.config import Settings


def open_registry(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    write: bool = False,
    or_empty: bool = False,
    warn: Callable[[str], object],
) -> Registry:
    """Open the registry that the settings name: a store, or a server.

    The kind of a server is detected unless it is set or remembered. With ``write`` a missing store is created; with
    ``or_empty`` an empty registry stands for it, and no file is created. Raises UsageError: the source in the settings
    has no API tokens; TokctlError: as ``detection.find_registry``.
    """
    from_environment = settings.origins.get("registry_server", "").startswith("environment")
    if from_environment and settings.flag_names & {"store", "file", "server", "context"}:
        # Options of the command line take precedence over the environment.
        kind = settings.registry_kind if "registry_kind" in settings.flag_names else None
        settings = replace(settings, registry_server=None, registry_kind=kind, registry_credential=None)
    if settings.registry_server is not None or settings.kind == "server":
        from tokctl.api_tokens.registries.detection import find_registry
        from tokctl.api_tokens.vaults.credentials import resolve_connection

        connection = resolve_connection(settings, registry=True, warn=warn)
        found = find_registry(connection, settings.registry_kind, warn=warn)
        return found.server_kind.open(found.apply_to(connection), clock, warn)
    if settings.kind not in REGISTRIES:
        raise UsageError("--file is for process tokens only. API tokens are in a store or on a server.", "Remove it.")
    module = import_module(REGISTRIES[settings.kind])
    registry: Registry
    try:
        registry = module.open_registry(settings, clock, write=write, warn=warn)
    except MissingStoreError:
        if not or_empty:
            raise
        registry = module.open_empty_registry(settings, clock)
    return registry
