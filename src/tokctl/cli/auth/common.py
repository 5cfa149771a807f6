"""Helpers of the ``auth`` commands: the server, and its entry in the keyring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.api_tokens.vaults.credentials import resolve_connection, server_account_name
from tokctl.api_tokens.vaults.keyring import Keyring
from tokctl.cli.app import App

if TYPE_CHECKING:
    from tokctl.client import Connection


def open_keyring(app: App, *, registry: bool) -> tuple[Connection, Keyring]:
    """Return how to reach the server of processes or of API tokens, and its entry in the keyring. Raises UsageError."""
    connection = resolve_connection(app.settings, registry=registry)
    return connection, Keyring(server_account_name(connection.url))


def with_secret(connection: Connection, secret: str | None) -> Connection:
    """Return the connection with this secret as its credential."""
    from tokctl.client.credential import SharedCredential

    return replace(connection, credential=SharedCredential(lambda: secret))
