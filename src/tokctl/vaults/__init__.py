"""Vaults: where secrets are kept. A credential in the settings is the name of a vault and of a place in it.

Each kind is one module, imported when it is used, with ``open_vault(place, account)`` if it can be read from by
such a name, and ``open_keeper(place, account, replace)`` if it can be written to: ``place`` is what stands behind the
colon, ``account`` what the keyring is to call it, such as the origin of the server that the secret is for.
``credentials`` says which secret goes to which server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from tokctl.errors import UsageError
from tokctl.process.query import suggest

if TYPE_CHECKING:
    from tokctl.vaults.base import Keeper, Vault

VAULTS = {
    "keyring": "tokctl.vaults.keyring",
    "env": "tokctl.vaults.env",
    "file": "tokctl.vaults.file",
    "command": "tokctl.vaults.command",
}
"""Kind → module."""

KEEPERS = {
    "keyring": "tokctl.vaults.keyring",
    "file": "tokctl.vaults.file",
    "env-file": "tokctl.vaults.envfile",
    "command": "tokctl.vaults.receiver",
}
"""Kind → module, of those that a new secret can be put into."""

PLACES = "keyring, file:PATH, env-file:PATH or command:WORDS"


def open_vault(credential: str, account: str) -> Vault:
    """Open the vault that a credential names, such as ``keyring`` or ``env:NAME``. Raises UsageError."""
    from tokctl.config.keys import credential as check

    kind, _, place = check(credential).partition(":")
    return cast("Vault", import_module(VAULTS[kind]).open_vault(place.strip(), account))


def open_keeper(place: str, account: str, *, replace: bool = False) -> Keeper:
    """Open what a new secret is to be put into, such as ``keyring`` or ``file:PATH``.

    Args:
        place: its kind, and where.
        account: what the keyring is to call it.
        replace: whether it may take the place of another secret.

    Raises:
        UsageError: there is no such kind, or it does not say where.
    """
    kind, _, rest = place.partition(":")
    kind, rest = kind.strip().lower(), rest.strip()
    if kind not in KEEPERS:
        raise UsageError(f"a secret cannot be saved in '{kind}'{suggest(kind, KEEPERS)}.", f"Valid: {PLACES}.")
    if bool(rest) == (kind == "keyring"):
        raise UsageError(f"--save {kind} does not say where." if not rest else "--save keyring takes no name.",
                         f"Valid: {PLACES}.")  # fmt: skip
    return cast("Keeper", import_module(KEEPERS[kind]).open_keeper(rest, account, replace=replace))
