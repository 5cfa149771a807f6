"""Vaults: where secrets are saved. A place is the name of a vault and its argument, such as ``file:PATH``.

Each kind is one module, imported when it is used; ``tokctl.api_tokens.vault_kinds`` lists them. ``credentials`` finds
the secret for a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tokctl.api_tokens.vault_kinds import SINK_SYNTAX, SINKS, SOURCES
from tokctl.api_tokens.vaults.protocol import MayReplace, replace_nothing
from tokctl.errors import UsageError
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.api_tokens.vaults.protocol import SecretSink, SecretSource


def open_source(place: str, account: str) -> SecretSource:
    """Open a place to read a secret from, as the setting ``credential`` takes it: ``keyring``, ``env:NAME``.

    ``account`` is the entry in the keyring, such as the origin of the server that the secret is for. Raises UsageError.
    """
    from tokctl.config.keys import credential as check

    kind, _, argument = check(place).partition(":")
    source: SecretSource = import_module(SOURCES[kind].module).open_source(argument.strip(), account)
    return source


def open_sink(place: str, account: str, *, may_replace: MayReplace = replace_nothing) -> SecretSink:
    """Open a place to write a secret to, as ``--save`` takes it: ``keyring``, ``file:PATH``.

    ``account`` is the entry in the keyring; ``may_replace`` tells whether a value that is there may be overwritten.
    Raises UsageError.
    """
    kind, _, argument = place.partition(":")
    kind, argument = kind.strip().lower(), argument.strip()
    valid = f"Valid: {SINK_SYNTAX}."
    if kind not in SINKS:
        raise UsageError(f"unknown place for a secret: '{kind}'{suggest(kind, SINKS)}.", valid)
    if bool(argument) != bool(SINKS[kind].argument):
        raise UsageError(f"--save {kind} {'takes no argument' if argument else 'needs an argument'}.", valid)
    sink: SecretSink = import_module(SINKS[kind].module).open_sink(argument, account, may_replace=may_replace)
    return sink
