"""``tokctl config get``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.common import (
    find_key,
    list_effective_settings,
    list_file_settings,
    settings_listing,
)
from tokctl.config.file import read_configuration
from tokctl.config.validation import SECTIONS
from tokctl.documents.setup import SettingDocument
from tokctl.errors import NotFoundError, UsageError
from tokctl.render.result import Cell, Detail, Listing, format_value


def get(app: App, key: opt.ConfigKey) -> Detail | Listing:
    """Print one setting, or the settings of a section.

    A name such as server or output gives the value in effect. A name with dots such as contexts.prod.server gives the
    value in the configuration file.
    """
    configuration = read_configuration(os.environ)
    known = {setting.key: setting for setting in list_file_settings(configuration)}
    known |= {setting.key: setting for setting in list_effective_settings(app.settings, configuration)}
    if (found := known.get(key)) is not None:
        return _setting_detail(found)
    inside = [setting for name, setting in known.items() if name.startswith(f"{key}.")]
    if inside:
        return settings_listing(inside, origin=False)
    if key not in SettingDocument.__struct_fields__ and key not in EFFECTIVE_NAMES:
        try:
            find_key(key)
        except UsageError:
            is_section = key in SECTIONS or (key.startswith("contexts.") and key.count(".") == 1)
            if not is_section:
                raise
    raise NotFoundError(f"{key} is not set.", "See 'tokctl config view'.")


EFFECTIVE_NAMES = (
    "context",
    "file",
    "server",
    "store",
    "engine_kind",
    "credential",
    "ca_file",
    "registry_server",
    "rate",
)
"""Settings that can be in effect although the top level of the file does not have them."""


def _setting_detail(setting: SettingDocument) -> Detail:
    value = setting.value
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else format_value(value)
    return Detail(ident=text, document=setting, title=(Cell(text),))


app = command(
    get,
    shared_options=(*opt.ENGINE, "registry_kind", *opt.OUTPUT),
    examples=("tokctl config get server", "tokctl config get contexts.prod.credential"),
)
