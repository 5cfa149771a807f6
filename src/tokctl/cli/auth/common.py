"""Helpers of the ``auth`` commands: the server, and its entry in the keyring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.api_tokens.vaults.credentials import resolve_connection, server_account_name
from tokctl.api_tokens.vaults.keyring import Keyring
from tokctl.cli.app import App
from tokctl.services.store_passwords import is_in_database

if TYPE_CHECKING:
    from tokctl.client import Connection


def open_keyring(app: App, *, registry: bool) -> tuple[Connection, Keyring]:
    """Return how to reach the server of processes or of API tokens, and its entry in the keyring. Raises UsageError."""
    connection = resolve_connection(app.settings, registry=registry)
    return connection, Keyring(server_account_name(connection.url))


def find_database(app: App) -> str | None:
    """Return the URL of the store that the line, the environment or a context names, if a database server has it."""
    settings = app.settings
    return settings.store if settings.kind == "store" and is_in_database(settings.store) else None


def open_store_keyring(url: str) -> Keyring:
    """Return the entry of a store in the keyring. Raises UsageError: its URL is invalid, or a package is missing."""
    from tokctl.store.postgresql import account_name

    return Keyring(account_name(url))


def with_secret(connection: Connection, secret: str | None) -> Connection:
    """Return the connection with this secret as its credential."""
    from tokctl.client.credential import SharedCredential

    return replace(connection, credential=SharedCredential(lambda: secret))
