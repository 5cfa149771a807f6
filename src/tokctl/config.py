"""Settings: what the command line, the environment and the configuration file say.

The file is ``config.yaml`` in the platform's configuration directory, or the one that ``TOKCTL_CONFIG``
names. It is read by what needs it, and need not be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tokctl.errors import InputError, NotFoundError, UsageError


class Settings(Struct, frozen=True, kw_only=True):
    """What every command may want to know. Strings are as they were given; None is "not said"."""

    store: str | None = None
    file: str | None = None
    at: str | None = None
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


def config_file(environ: Mapping[str, str]) -> Path:
    """Where the configuration file is, or would be."""
    if named := environ.get("TOKCTL_CONFIG"):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("tokctl", appauthor=False) / "config.yaml"


def config_section(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Read a section of the configuration file: ``name: {key: …}``, or ``name.key: …``; empty where there is none.

    Raises:
        NotFoundError: ``TOKCTL_CONFIG`` names a file that is not there.
        InputError: the file cannot be read, is no YAML, or the section is no mapping.
    """
    file = config_file(environ)
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        if environ.get("TOKCTL_CONFIG"):
            raise NotFoundError(f"there is no configuration file {file}, which TOKCTL_CONFIG names.") from None
        return {}
    except OSError as error:
        raise InputError(f"the configuration {file} cannot be read: {error.strerror}.") from None
    import yaml

    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(f"the configuration {file}{where} is no YAML: {' '.join(reason.split())}.") from None
    if document is None:
        return {}
    section = document.get(name) if isinstance(document, dict) else document
    section = {} if section is None else section
    if not isinstance(section, dict):
        what = f"'{name}'" if isinstance(document, dict) else "it"
        raise InputError(f"the configuration {file}: {what} has to hold names and values.")
    dotted = {str(key).removeprefix(f"{name}."): value for key, value in document.items()
              if str(key).startswith(f"{name}.")}  # fmt: skip
    return {str(key): value for key, value in section.items()} | dotted
