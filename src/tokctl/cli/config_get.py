"""``tokctl config get``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import Setting, effective, find_key, in_file, listing
from tokctl.config.check import SECTIONS
from tokctl.config.file import read_configuration
from tokctl.errors import NotFoundError, UsageError
from tokctl.render.result import Cell, Detail, Listing, plain


def get(app: App, key: opt.ConfigKey) -> Detail | Listing:
    """Show one setting, alone, or those of a section.

    A name such as server or output is the value that holds here; a dotted one such as contexts.prod.server
    is what the configuration file says.
    """
    configuration = read_configuration(os.environ)
    known = {setting.key: setting for setting in in_file(configuration)}
    known |= {setting.key: setting for setting in effective(app.settings, configuration)}
    if (found := known.get(key)) is not None:
        return _alone(found)
    inside = [setting for name, setting in known.items() if name.startswith(f"{key}.")]
    if inside:
        return listing(inside, origin=False)
    if key not in Setting.__annotations__ and key not in NAMES:
        try:
            find_key(key)
        except UsageError:
            is_section = key in SECTIONS or (key.startswith("contexts.") and key.count(".") == 1)
            if not is_section:
                raise
    raise NotFoundError(f"{key} is not set.", "See 'tokctl config view'.")


NAMES = ("context", "file", "server", "store", "engine_kind", "credential", "ca_file", "registry_server")
"""What may hold although the file has no such name at its top."""


def _alone(setting: Setting) -> Detail:
    value = setting.value
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else plain(value)
    return Detail(ident=text, document=setting._asdict(), title=(Cell(text),))


app = command(
    get,
    takes=(*opt.ENGINE, *opt.OUTPUT),
    examples=("tokctl config get server", "tokctl config get contexts.prod.credential"),
)
