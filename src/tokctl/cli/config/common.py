"""Helpers of the ``config`` commands: settings by their dotted names, and the views of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tokctl.config import keys
from tokctl.config.file import Configuration, read_document
from tokctl.config.keys import SettingSpec
from tokctl.config.paths import config_file
from tokctl.config.settings import CONNECTION, REGISTRY, Settings
from tokctl.config.validation import SECTIONS
from tokctl.documents.setup import ConfigurationChange, SettingDocument
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.model.durations import format_duration
from tokctl.render.result import Cell, Column, Detail, Listing
from tokctl.text import suggest

FILE_ORIGIN = "configuration"
DEFAULT_ORIGIN = "default"


def find_key(name: str) -> SettingSpec:
    """Return the setting with a dotted name. Raises UsageError: there is none."""
    parts = name.split(".")
    if parts[0] == "contexts" and len(parts) > 2:
        keys.name(parts[1])
    known = known_keys([parts[1]] if parts[0] == "contexts" and len(parts) > 1 else [])
    if name in known:
        return known[name]
    if name in SECTIONS or (parts[0] == "contexts" and len(parts) < 3):
        raise UsageError(
            f"'{keys.refuse_secret(name)}' is a section, not a setting.",
            f"Its settings: {_format_names(name, known)}.",
        )
    near = f"{'.'.join(parts[:2])}." if parts[0] == "contexts" else f"{parts[0]}." if parts[0] in SECTIONS else ""
    raise UsageError(
        f"unknown setting '{keys.refuse_secret(name)}'{suggest(name, known)}.",
        f"Valid: {_format_names(near.rstrip('.'), known)}.",
    )


def _format_names(section: str, known: Mapping[str, SettingSpec]) -> str:
    """Return the names directly in a section; names of sections end with a dot."""
    if section == "contexts":
        return f"{', '.join(f'contexts.NAME.{name}' for name in keys.CONTEXT)}, contexts.NAME.debug.NAME"
    above = f"{section}." if section else ""
    names = [key.removeprefix(above).partition(".") for key in known if key.startswith(above)]
    inside = dict.fromkeys(f"{first}.NAME" if dot else first for first, dot, _ in names)
    return ", ".join([*inside, *([] if section else ["contexts.NAME.server and others"])])


def known_keys(contexts: Iterable[str]) -> dict[str, SettingSpec]:
    """Return every setting by its dotted name, those of the given contexts and all debug thresholds included."""
    from tokctl.services.config_check import list_threshold_keys

    limits = list_threshold_keys()
    known = {**keys.TOP, **_prefix_keys("debug", limits), **_prefix_keys("serve", keys.SERVE)}
    known |= _prefix_keys("serve.limits", keys.LIMITS) | _prefix_keys("theme", keys.THEME)
    for name in contexts:
        known |= _prefix_keys(f"contexts.{name}", keys.CONTEXT) | _prefix_keys(f"contexts.{name}.debug", limits)
    return known


def _prefix_keys(section: str, table: Mapping[str, SettingSpec]) -> dict[str, SettingSpec]:
    return {f"{section}.{name}": key for name, key in table.items()}


def write_setting(name: str, text: str) -> Path:
    """Change one setting in the configuration file and return the path of the file.

    Raises UsageError: there is no such setting, or the value is invalid.
    """
    from tokctl.config.editing import set_values

    key = find_key(name)
    try:
        value = key.stored(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", error.hint) from None
    value = key.map_path(value, os.path.abspath)  # symbolic links are kept
    return set_values(os.environ, {tuple(name.split(".")): list(value) if isinstance(value, tuple) else value})


def find_context(name: str) -> Configuration:
    """Return the readable part of the configuration file, which must have the context.

    Raises NotFoundError: it has none.
    """
    file = config_file(os.environ)
    document = read_document(file) or {}
    if not isinstance(document.get("contexts"), dict | None):
        raise InputError(f"the configuration {file}: 'contexts' must be a mapping.")
    configuration = Configuration(file, document)
    if name not in configuration.contexts:
        known = ", ".join(map(str, configuration.contexts)) or "none"
        raise NotFoundError(
            f"unknown context '{keys.refuse_secret(name)}'{suggest(name, configuration.contexts)}.",
            f"Contexts: {known}.",
        )
    return configuration


# --- settings in effect, and settings in the file -------------------------------------------------------


def list_effective_settings(settings: Settings, configuration: Configuration) -> list[SettingDocument]:
    """Return the settings in effect for this command line; settings that are not given have their default."""
    usual: dict[str, Any] = {
        "credential": "keyring",
        "registry_credential": "keyring",
        "insecure": False,
        "timeout": settings.timeout,
        "connect_timeout": settings.connect_timeout,
        "store": "",
        "output": "table",
    }
    kind = settings.kind
    names = ["context", kind]
    if kind == "server":
        names += CONNECTION
    if settings.registry_server is not None:
        names += REGISTRY
    elif settings.registry_kind is not None:
        names.append("registry_kind")
    shown = []
    for name in (*names, "output"):
        value: Any = settings.store_location if name == "store" else getattr(settings, name) or usual.get(name)
        if name.endswith("timeout"):
            value = format_duration(value)
        origin = settings.origins.get(name, DEFAULT_ORIGIN if name in usual else None)
        shown.append(SettingDocument(key=name, value=value, origin=origin))
    for section, values in (("debug", settings.debug), ("theme", settings.theme)):
        for name, value in values.items():
            key = f"{section}.{name}"
            shown.append(SettingDocument(key=key, value=value, origin=settings.origins.get(key)))
    shown += [setting for setting in list_file_settings(configuration) if setting.key.startswith("serve.")]
    return [setting for setting in shown if setting.value is not None]


def list_file_settings(configuration: Configuration) -> list[SettingDocument]:
    """Return every setting of the configuration file, as written there."""

    def walk(section: Mapping[str, Any], above: str) -> Iterator[SettingDocument]:
        for name, value in section.items():
            if isinstance(value, dict):
                yield from walk(value, f"{above}{name}.")
            elif value is not None:
                yield SettingDocument(key=f"{above}{name}", value=value, origin=FILE_ORIGIN)

    return list(walk(configuration.document, ""))


def settings_listing(settings: Iterable[SettingDocument], *, origin: bool) -> Listing:
    """Return settings as a list."""
    return Listing(
        key="settings",
        items=list(settings),
        columns=(
            Column(key="key", title="KEY", value=lambda s: s.key),
            Column(key="value", title="VALUE", value=lambda s: s.value, fold=True),
            Column(key="origin", title="ORIGIN", value=lambda s: s.origin, rank=1, wide=not origin),
        ),
        ident=lambda s: s.key,
        document=lambda s: s,
        empty="There are no settings.",
    )


def change_detail(said: str, file: Path, **changed: str) -> Detail:
    """Report what a command changed in the configuration file: a ``key``, a ``context`` or the ``current_context``."""
    document = ConfigurationChange(**changed, file=str(file))
    return Detail(ident=str(file), document=document, title=(Cell(f"{said} in {file}."),))
