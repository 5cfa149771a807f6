"""The local store as an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokctl.engines.projection import Projection
from tokctl.store import open_store

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.engines.protocol import Engine


def open_engine(settings: Settings, reading: Projection) -> Engine:  # noqa: ARG001 - a store reads what it is asked for
    """Open the store to be read. Raises StoreError."""
    return open_store(settings.store_location)
