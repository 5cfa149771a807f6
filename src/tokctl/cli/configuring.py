"""What the ``config`` commands have in common: the settings by their dotted names, and what shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tokctl.config import keys
from tokctl.config.check import SECTIONS, check
from tokctl.config.file import Configuration, at_home, config_file, read_document
from tokctl.config.keys import Key
from tokctl.config.settings import Settings
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.process.query import suggest
from tokctl.process.spell import span
from tokctl.render.result import Cell, Column, Detail, Listing

FILE = "configuration"
DEFAULT = "default"


class Setting(NamedTuple):
    """A setting as it is shown: its dotted name, its value as it would stand in the file, and where that comes from."""

    key: str
    value: Any
    origin: str | None


def find_key(name: str) -> Key:
    """Return what may be set under a dotted name.

    Raises:
        UsageError: nothing may.
    """
    parts = name.split(".")
    if parts[0] == "contexts" and len(parts) > 2:
        keys.name(parts[1])
    known = known_keys([parts[1]] if parts[0] == "contexts" and len(parts) > 1 else [])
    if name in known:
        return known[name]
    if name in SECTIONS or (parts[0] == "contexts" and len(parts) < 3):
        raise UsageError(f"'{keys.refuse_secret(name)}' is a section; name a setting in it.",
                         f"There are: {_those_in(name, known)}.")  # fmt: skip
    near = f"{'.'.join(parts[:2])}." if parts[0] == "contexts" else f"{parts[0]}." if parts[0] in SECTIONS else ""
    raise UsageError(f"there is no setting '{keys.refuse_secret(name)}'{suggest(name, known)}.",
                     f"There are: {_those_in(near.rstrip('.'), known)}.")  # fmt: skip


def _those_in(section: str, known: Mapping[str, Key]) -> str:
    """The names right below a section; of sections below it the name with a dot behind."""
    if section == "contexts":
        return f"{', '.join(f'contexts.NAME.{name}' for name in keys.CONTEXT)}, contexts.NAME.debug.NAME"
    above = f"{section}." if section else ""
    names = [key.removeprefix(above).partition(".") for key in known if key.startswith(above)]
    inside = dict.fromkeys(f"{first}.NAME" if dot else first for first, dot, _ in names)
    return ", ".join([*inside, *([] if section else ["contexts.NAME.server and others"])])


def known_keys(contexts: Iterable[str]) -> dict[str, Key]:
    """Every setting by its dotted name, those of some contexts and the thresholds of all debug rules among them."""
    limits = _thresholds()
    known = {**keys.TOP, **_below("debug", limits), **_below("serve", keys.SERVE)}
    known |= _below("serve.limits", keys.LIMITS)
    for name in contexts:
        known |= _below(f"contexts.{name}", keys.CONTEXT) | _below(f"contexts.{name}.debug", limits)
    return known


def _below(section: str, table: Mapping[str, Key]) -> dict[str, Key]:
    return {f"{section}.{name}": key for name, key in table.items()}


def _thresholds() -> dict[str, Key]:
    from tokctl.cli.examine import all_rules

    return {
        threshold.name: Key(threshold.read, threshold.meaning, plain=isinstance(threshold.default, timedelta))
        for rule in all_rules().values()
        for threshold in rule.thresholds
    }


def set_in_file(name: str, text: str) -> Path:
    """Set one setting in the configuration file; returns where that is.

    Raises:
        UsageError: there is no such setting, or the value means nothing.
    """
    from tokctl.config.writing import set_values

    key = find_key(name)
    try:
        value = key.stored(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", error.hint) from None
    if key.path and "://" not in value:
        value = os.path.abspath(at_home(value))  # noqa: PTH100 - links stay what they are
    elif key.read is keys.credential and value.startswith("file:"):
        value = f"file:{os.path.abspath(at_home(value.removeprefix('file:')))}"  # noqa: PTH100
    return set_values(os.environ, {tuple(name.split(".")): list(value) if isinstance(value, tuple) else value})


class Problem(NamedTuple):
    """What is wrong with a setting."""

    key: str
    message: str


def find_problems(file: Path, *, needed: bool) -> list[Problem]:
    """Tell all that is wrong with a configuration file, its thresholds included.

    Raises:
        NotFoundError: there is no such file, and it is ``needed``.
        InputError: it cannot be read, or is no YAML.
    """
    found: list[Problem] = []
    document = read_document(file)
    if document is None:
        if needed:
            raise NotFoundError(f"there is no configuration file {file}.")
        return []
    for _ in check(document, file, lambda name, error: found.append(Problem(name, str(error)))):
        pass
    limits = _thresholds()
    for section, given in _debug_sections(document):
        for name, value in given.items():
            key = f"{section}.{name}"
            if name not in limits:
                found.append(Problem(key, f"there is no threshold '{name}'{suggest(str(name), limits)}."))
                continue
            try:
                limits[name].read(value)
            except UsageError as error:
                found.append(Problem(key, str(error)))
    return found


def _debug_sections(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    contexts = document.get("contexts")
    places = [("debug", document)]
    if isinstance(contexts, dict):
        places += [(f"contexts.{name}.debug", context) for name, context in contexts.items()]
    for name, place in places:
        if isinstance(place, dict) and isinstance(given := place.get("debug"), dict):
            yield name, given


def find_context(name: str) -> Configuration:
    """Return the configuration file as far as it can be read, once it is certain that it has such a context.

    Raises:
        NotFoundError: it has none.
    """
    file = config_file(os.environ)
    document = read_document(file) or {}
    if not isinstance(document.get("contexts"), dict | None):
        raise InputError(f"the configuration {file}: 'contexts' has to hold names and values.")
    configuration = Configuration(file, document)
    if name not in configuration.contexts:
        known = ", ".join(map(str, configuration.contexts)) or "none"
        raise NotFoundError(f"there is no context '{keys.refuse_secret(name)}'{suggest(name, configuration.contexts)}.",
                            f"There are: {known}.")  # fmt: skip
    return configuration


# --- what is in force, and what stands in the file -------------------------------------------------------


def effective(settings: Settings, configuration: Configuration) -> list[Setting]:
    """What holds for a command that is run like this one; what nobody said has its usual value, or none."""
    origin = settings.origins.get
    kind = settings.kind
    shown: list[Setting] = [Setting("context", settings.context, origin("context"))]
    if kind == "file":
        shown.append(Setting("file", settings.file, origin("file")))
    elif kind == "server":
        shown.append(Setting("server", settings.server, origin("server")))
        shown += [
            Setting("engine_kind", settings.engine_kind, origin("engine_kind")),
            Setting("credential", settings.credential or "keyring", origin("credential", DEFAULT)),
            Setting("ca_file", settings.ca_file, origin("ca_file")),
            Setting("insecure", settings.insecure, origin("insecure", DEFAULT)),
            Setting("timeout", span(settings.timeout), origin("timeout", DEFAULT)),
            Setting("connect_timeout", span(settings.connect_timeout), origin("connect_timeout", DEFAULT)),
        ]
    else:
        shown.append(Setting("store", settings.store_location, origin("store", DEFAULT)))
    if settings.registry_server is not None:
        shown.append(Setting("registry_server", settings.registry_server, origin("registry_server")))
        credential = settings.registry_credential or "keyring"
        shown.append(Setting("registry_credential", credential, origin("registry_credential", DEFAULT)))
    shown.append(Setting("output", settings.output or "table", origin("output", DEFAULT)))
    shown += [Setting(f"debug.{name}", value, origin(f"debug.{name}")) for name, value in settings.debug.items()]
    shown += [setting for setting in in_file(configuration) if setting.key.startswith("serve.")]
    return [setting for setting in shown if setting.value is not None]


def in_file(configuration: Configuration) -> list[Setting]:
    """Every setting of the configuration file, as it stands there."""

    def walk(section: Mapping[str, Any], above: str) -> Iterator[Setting]:
        for name, value in section.items():
            if isinstance(value, dict):
                yield from walk(value, f"{above}{name}.")
            elif value is not None:
                yield Setting(f"{above}{name}", value, FILE)

    return list(walk(configuration.document, ""))


def listing(settings: Iterable[Setting], *, origin: bool, empty: str = "Nothing is set.") -> Listing:
    """Settings as a list."""
    columns = [
        Column(key="key", title="KEY", value=lambda s: s.key),
        Column(key="value", title="VALUE", value=lambda s: s.value, fold=True),
        Column(key="origin", title="ORIGIN", value=lambda s: s.origin, rank=1, wide=not origin),
    ]
    return Listing(
        key="settings",
        items=list(settings),
        columns=tuple(columns),
        ident=lambda s: s.key,
        document=Setting._asdict,
        empty=empty,
    )


def changed(said: str, file: Path, **document: Any) -> Detail:
    """What a command says that has changed the configuration file."""
    return Detail(ident=str(file), document={**document, "file": str(file)}, title=(Cell(f"{said} in {file}."),))
