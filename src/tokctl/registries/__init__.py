"""Registries: where API tokens are kept. One module a kind, imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from tokctl.errors import UsageError

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.registries.base import Registry

REGISTRIES = {
    "store": "tokctl.registries.local",
    "server": "tokctl.registries.rest",
}
"""What the settings name → module with ``open_registry(settings, clock, write, warn)``."""


def open_registry(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    write: bool = False,
    warn: Callable[[str], object],
) -> Registry:
    """Open the registry that the settings name.

    Args:
        settings: which one.
        clock: what tells the time.
        write: whether something is to be changed; a store is made then where there is none.
        warn: is told what the user ought to know.

    Raises:
        UsageError: the settings name something else.
    """
    from_environment = settings.origins.get("registry_server", "").startswith("environment")
    if from_environment and settings.said & {"store", "file", "server", "context"}:
        settings = replace(settings, registry_server=None, registry_credential=None)  # the line is nearer
    kind = "server" if settings.registry_server is not None else settings.kind
    if kind not in REGISTRIES:
        raise UsageError("--file is for looking at process tokens; API tokens are in a store or on a server.",
                         "Leave it out.")  # fmt: skip
    made = import_module(REGISTRIES[kind]).open_registry(settings, clock, write=write, warn=warn)
    return cast("Registry", made)
