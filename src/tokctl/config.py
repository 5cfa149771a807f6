"""Settings: what the command line and the environment say, in one frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tokctl.errors import UsageError


class Settings(Struct, frozen=True, kw_only=True):
    """What every command may want to know. Strings are as they were given; None is "not said"."""

    store: str | None = None
    file: str | None = None
    output: str | None = None
    columns: str | None = None
    query: str | None = None
    color: str | None = None
    debug_traceback: bool = False
    said: frozenset[str] = frozenset()  # what stands on the command line, not in the environment

    @property
    def store_location(self) -> str:
        """The store to use: the one that was named, or that in the platform's data directory.

        Raises:
            UsageError: the name is empty, as a script's variable may be; the usual store is not meant then.
        """
        if self.store == "":
            raise UsageError("--store names no file.", "Give a path, or leave it out for the usual store.")
        return self.store or str(default_store())


def settings_from(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Join flags and environment: a flag wins over ``TOKCTL_STORE`` or ``TOKCTL_OUTPUT``."""
    values: dict[str, Any] = {
        "store": environ.get("TOKCTL_STORE") or None,
        "output": environ.get("TOKCTL_OUTPUT") or None,
    }
    said = {name: value for name, value in flags.items() if value is not None}
    return Settings(**values | said, said=frozenset(said))


def default_store() -> Path:
    """Where the store is unless someone says otherwise."""
    from platformdirs import user_data_path

    return user_data_path("tokctl", appauthor=False) / "tokctl.db"
