"""The configuration file: where it is, and what stands in it. Nothing is imported for one that is not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tokctl.errors import InputError, NotFoundError
from tokctl.process.query import suggest
from tokctl.trace import trace

LARGEST = 1 << 20
"""Bytes of a configuration: what is longer is some other file."""


class Configuration(Struct, frozen=True):
    """What the file says.

    ``document`` is what stands there, names with dots in them taken apart; ``values`` are the settings by
    dotted names, as the program works with them, but for thresholds, which only the rules can read.
    """

    path: Path | None = None
    document: Mapping[str, Any] = {}
    values: Mapping[str, Any] = {}

    def thresholds(self, context: str | None = None) -> dict[str, Any]:
        """The thresholds of a context, or those of the file's own section ``debug``, as they stand there."""
        section = (self.document if context is None else self.contexts.get(context)) or {}
        return {name: value for name, value in (section.get("debug") or {}).items() if value is not None}

    @property
    def contexts(self) -> Mapping[str, Any]:
        """The contexts by name, as they stand in the file."""
        return self.document.get("contexts") or {}

    @property
    def current(self) -> str | None:
        """The context that the file makes the current one."""
        name = self.document.get("current_context")
        return None if name is None else str(name)

    def find(self, name: str, said_by: str) -> None:
        """See that there is a context of that name. Raises NotFoundError."""
        if name not in self.contexts:
            known = ", ".join(self.contexts) or "none"
            raise NotFoundError(f"there is no context '{name}'{suggest(name, self.contexts)}, which {said_by} names.",
                                f"There are: {known}. See 'tokctl config view'.")  # fmt: skip

    def within(self, section: str) -> dict[str, Any]:
        """The values of a section, by their names in it."""
        return {
            name.removeprefix(f"{section}."): value
            for name, value in self.values.items()
            if name.startswith(f"{section}.")
        }


def config_file(environ: Mapping[str, str]) -> Path:
    """Where the configuration file is, or would be."""
    if named := environ.get("TOKCTL_CONFIG"):
        return at_home(named)
    if sys.platform == "linux":  # what platformdirs says, which takes a while to import
        home = environ.get("XDG_CONFIG_HOME", "")
        return at_home(home if os.path.isabs(home) else "~/.config") / "tokctl" / "config.yaml"  # noqa: PTH117
    from platformdirs import user_config_path

    return user_config_path("tokctl", appauthor=False) / "config.yaml"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where is remembered what a run leaves to the next: ``TOKCTL_STATE_DIR``, or the platform's place for it."""
    if named := environ.get("TOKCTL_STATE_DIR"):
        return at_home(named)
    from platformdirs import user_state_path

    return user_state_path("tokctl", appauthor=False)


def at_home(path: str) -> Path:
    """A path in which ``~`` stands for a home; that of a user whom nobody knows stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises there


def read_configuration(environ: Mapping[str, str]) -> Configuration:
    """Read and check the configuration file; an empty one where there is none.

    Raises:
        NotFoundError: ``TOKCTL_CONFIG`` names a file that is not there.
        InputError: the file cannot be read, is no YAML, or holds something else than names and values.
        UsageError: a setting that does not exist, or a value that means nothing.
    """
    file = config_file(environ)
    try:
        status = os.stat(file)  # noqa: PTH116 - as the key of what is kept
        seen = (str(file), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if _KEPT.get("seen") == seen:
            return _KEPT["configuration"]  # type: ignore[no-any-return]
        data = read_data(file)[0]
    except FileNotFoundError:
        if environ.get("TOKCTL_CONFIG"):
            raise NotFoundError(f"there is no configuration file {file}, which TOKCTL_CONFIG names.") from None
        return Configuration()
    except OSError as error:
        raise InputError(f"the configuration {file} cannot be read: {error.strerror}.") from None
    configuration = parse(data, file)
    _KEPT.update(seen=seen, configuration=configuration)
    return configuration


_KEPT: dict[str, Any] = {}  # the file that was read last: one run asks several times


def config_section(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a section of the configuration file, empty where there is none.

    ``serve`` has its values as the program works with them, and its section ``limits`` as a mapping in it;
    ``debug`` has its thresholds as they stand there.

    Raises:
        NotFoundError, InputError, UsageError: as ``read_configuration``.
    """
    configuration = read_configuration(environ)
    if name == "debug":
        return configuration.thresholds()
    return nested(configuration.within(name), str(configuration.path))


def read_data(file: Path) -> tuple[bytes, os.stat_result]:
    """Return what stands in a configuration file, and what the file is. Raises InputError (too large), OSError."""
    with file.open("rb") as stream:
        data = stream.read(LARGEST + 1)  # a device says nothing of its size
        if len(data) > LARGEST:
            raise InputError(f"the configuration {file} is too large to be one.")
        trace("the configuration %s: read", file)
        return data, os.fstat(stream.fileno())


def parse(data: bytes, file: Path) -> Configuration:
    """Read a configuration's text, and check it but for the thresholds of ``debug``.

    Raises:
        InputError: it is no YAML, or holds something else than names and values.
        UsageError: a setting that does not exist, or a value that means nothing.
    """
    from tokctl.config.check import check

    document = document_of(data, str(file))
    return Configuration(file, document, dict(check(document, file)))


def load_yaml(data: bytes, file: str) -> dict[Any, Any]:
    """Read YAML whose top holds names and values. Raises InputError."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Refuses a name that stands twice in a mapping; YAML would let the last one win in silence."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names: set[str] = set()
            for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if name in names:
                    raise yaml.MarkedYAMLError(problem=f"'{name}' stands in it twice", problem_mark=node.start_mark)
                names.add(name)
            return super().construct_mapping(node, deep)

    try:
        document = yaml.load(data, Loader)  # noqa: S506 - it is a safe one
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(f"the configuration {file}{where} is no YAML: {' '.join(reason.split())}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InputError(f"the configuration {file}: it has to hold names and values.")
    return document


def read_document(file: Path) -> dict[str, Any] | None:
    """Read a configuration file without checking it; None where there is none.

    Raises:
        InputError: it cannot be read, is no YAML, or its top holds no names.
    """
    try:
        data = read_data(file)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"the configuration {file} cannot be read: {error.strerror}.") from None
    return document_of(data, str(file))


def document_of(data: bytes, file: str) -> dict[str, Any]:
    """Read YAML, names with dots in them taken apart. Raises InputError."""
    try:
        return nested(load_yaml(data, file), file)
    except RecursionError:
        raise InputError(f"the configuration {file} is nested too deeply.") from None


def nested(document: Mapping[Any, Any], file: str) -> dict[str, Any]:
    """Take names with dots in them apart: ``debug.retries: 5`` is ``debug: {retries: 5}``, and goes before it."""
    made: dict[str, Any] = {}
    for key in sorted(document, key=lambda key: "." in str(key)):
        value = document[key]
        if isinstance(value, dict):
            value = nested(value, file)
        *above, last = str(key).split(".")
        place = made
        for part in above:
            inner = place.get(part)
            if inner is None:
                inner = place[part] = {}
            if not isinstance(inner, dict):
                raise InputError(f"the configuration {file}: '{part}' has to hold names and values.")
            place = inner
        here = place.get(last)
        place[last] = here | value if isinstance(here, dict) and isinstance(value, dict) else value
    return made
