"""Vaults: where secrets are kept. A credential in the settings is the name of a vault and of a place in it.

Each kind is one module with ``open_vault(place, account)``, imported when it is used: ``place`` is what
stands behind the colon in the settings, ``account`` the origin of the server that the secret is for.
``credentials`` says which secret goes to which server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tokctl.vaults.base import Vault

VAULTS = {
    "keyring": "tokctl.vaults.keyring",
    "env": "tokctl.vaults.env",
    "file": "tokctl.vaults.file",
    "command": "tokctl.vaults.command",
}
"""Kind → module."""


def open_vault(credential: str, account: str) -> Vault:
    """Open the vault that a credential names, such as ``keyring`` or ``env:NAME``. Raises UsageError."""
    from tokctl.config.keys import credential as check

    kind, _, place = check(credential).partition(":")
    return cast("Vault", import_module(VAULTS[kind]).open_vault(place.strip(), account))
