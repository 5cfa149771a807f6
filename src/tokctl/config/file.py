"""The configuration file: read, parsed, checked, and looked up by context and section.

YAML is imported only if there is a file. ``paths`` tells where the file is, ``editing`` changes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tokctl.config.paths import config_file
from tokctl.errors import InputError, NotFoundError
from tokctl.text import suggest
from tokctl.verbose_log import trace

MAX_BYTES = 1 << 20
"""The maximum size of a configuration file, in bytes; anything larger is another kind of file."""


class Configuration(Struct, frozen=True):
    """The content of the configuration file."""

    path: Path | None = None  # None if there is no file
    document: Mapping[str, Any] = {}  # as written, with dotted names expanded into sections
    values: Mapping[str, Any] = {}
    """The settings by their dotted names, parsed, but thresholds as written: only the debug rules can parse those."""

    def thresholds(self, context: str | None = None) -> dict[str, Any]:
        """Return the thresholds of a context, or of the section ``debug`` at the top level, as written."""
        section = (self.document if context is None else self.contexts.get(context)) or {}
        return {name: value for name, value in (section.get("debug") or {}).items() if value is not None}

    @property
    def contexts(self) -> Mapping[str, Any]:
        """The contexts by name, as written."""
        return self.document.get("contexts") or {}

    @property
    def current(self) -> str | None:
        """The name in ``current_context``."""
        name = self.document.get("current_context")
        return None if name is None else str(name)

    def require_context(self, name: str, named_by: str) -> None:
        """Raise NotFoundError unless there is such a context; ``named_by`` is what names it, for the message."""
        if name not in self.contexts:
            known = ", ".join(self.contexts) or "none"
            raise NotFoundError(
                f"unknown context '{name}'{suggest(name, self.contexts)} (set by {named_by}).",
                f"Contexts: {known}. See 'tokctl config view'.",
            )

    def section_values(self, section: str) -> dict[str, Any]:
        """Return the parsed values of a section, by their names within it."""
        return {
            name.removeprefix(f"{section}."): value
            for name, value in self.values.items()
            if name.startswith(f"{section}.")
        }


def read_configuration(environ: Mapping[str, str]) -> Configuration:
    """Read and check the configuration file; an empty configuration if there is no file.

    Raises as ``parse_configuration``, and NotFoundError: ``TOKCTL_CONFIG`` names a file that does not exist.
    """
    file = config_file(environ)
    try:
        status = os.stat(file)  # noqa: PTH116 - as the key of the cache
        seen = (str(file), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if seen in _cached:
            return _cached[seen]
        data = read_data(file)[0]
    except FileNotFoundError:
        if environ.get("TOKCTL_CONFIG"):
            raise NotFoundError(f"the configuration file {file} does not exist (set by TOKCTL_CONFIG).") from None
        return Configuration()
    except OSError as error:
        raise InputError(f"cannot read the configuration {file}: {error.strerror}.") from None
    configuration = parse_configuration(data, file)
    _cached.clear()
    _cached[seen] = configuration
    return configuration


_cached: dict[tuple[str | int, ...], Configuration] = {}  # the file that was read last, as one run asks several times


def config_section(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a section of the configuration file, empty if there is none. Raises as ``read_configuration``.

    ``serve`` has parsed values, with its section ``limits`` as a mapping in it; ``debug`` has thresholds as written.
    """
    configuration = read_configuration(environ)
    if name == "debug":
        return configuration.thresholds()
    return expand_dotted_names(configuration.section_values(name), str(configuration.path))


def parse_configuration(data: bytes, file: Path) -> Configuration:
    """Parse and check the content of a configuration file, except the thresholds of ``debug``.

    Raises as ``parse_document`` and ``validate``.
    """
    from tokctl.config.validation import validate

    document = parse_document(data, str(file))
    return Configuration(file, document, validate(document, file))


# --- YAML ---


def read_document(file: Path) -> dict[str, Any] | None:
    """Read a configuration file without checking its settings; None if there is no file. Raises InputError."""
    try:
        data = read_data(file)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read the configuration {file}: {error.strerror}.") from None
    return parse_document(data, str(file))


def read_data(file: Path) -> tuple[bytes, os.stat_result]:
    """Return the content of a configuration file and its status. Raises InputError: it is too large; OSError."""
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)  # the status of a device does not tell its size
        if len(data) > MAX_BYTES:
            raise InputError(f"the configuration {file} is too large.")
        trace("the configuration %s: read", file)
        return data, os.fstat(stream.fileno())


def parse_document(data: bytes, file: str) -> dict[str, Any]:
    """Parse YAML whose top level is a mapping, and expand dotted names.

    Raises InputError: as ``load_yaml`` and ``expand_dotted_names``, or it is nested too deeply.
    """
    try:
        return expand_dotted_names(load_yaml(data, file), file)
    except RecursionError:
        raise InputError(f"the configuration {file} is nested too deeply.") from None


def load_yaml(data: bytes, file: str) -> dict[Any, Any]:
    """Parse YAML whose top level is a mapping; an empty document is an empty mapping.

    Raises InputError: it is not YAML, is not a mapping, or has a name twice in one mapping.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Refuses a name that is twice in a mapping; YAML would silently use the last one."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names: set[str] = set()
            for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if name in names:
                    raise yaml.MarkedYAMLError(problem=f"duplicate name '{name}'", problem_mark=node.start_mark)
                names.add(name)
            return super().construct_mapping(node, deep)

    try:
        document = yaml.load(data, Loader)  # noqa: S506 - a subclass of a safe loader
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(f"invalid YAML in the configuration {file}{where}: {' '.join(reason.split())}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InputError(f"the configuration {file} must be a mapping of names to values.")
    return document


def expand_dotted_names(document: Mapping[Any, Any], file: str) -> dict[str, Any]:
    """Return a document whose dotted names have become sections.

    ``debug.retries: 5`` becomes ``debug: {retries: 5}``, and overrides a value that is written that way. Raises
    InputError: a dotted name goes through something that is not a section.
    """
    expanded: dict[str, Any] = {}
    for key in sorted(document, key=lambda key: "." in str(key)):
        value = document[key]
        if isinstance(value, dict):
            value = expand_dotted_names(value, file)
        *parents, last = str(key).split(".")
        section = expanded
        for part in parents:
            inner = section.get(part)
            if inner is None:
                inner = section[part] = {}
            if not isinstance(inner, dict):
                raise InputError(f"the configuration {file}: '{part}' must be a mapping of names to values.")
            section = inner
        before = section.get(last)
        section[last] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return expanded
