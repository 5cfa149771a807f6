"""Helpers of the ``auth`` commands: the server, its entry in the keyring, and whether it accepts a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tokctl.api_tokens.vaults.credentials import resolve_connection, server_account_name
from tokctl.api_tokens.vaults.keyring import Keyring
from tokctl.cli.app import App

if TYPE_CHECKING:
    from tokctl.client import Connection


class CredentialCheck(NamedTuple):
    """Whether a server accepts a secret (None: unknown), and a note for the user."""

    accepted: bool | None
    note: str = ""


def open_keyring(app: App, *, registry: bool) -> tuple[Connection, Keyring]:
    """Return how to reach the server of processes or of API tokens, and its entry in the keyring. Raises UsageError."""
    connection = resolve_connection(app.settings, registry=registry)
    return connection, Keyring(server_account_name(connection.url))


def check_secret(connection: Connection, secret: str | None) -> CredentialCheck:
    """Send a request that needs a credential, and return what the answer says about the secret.

    Raises TokctlError: there is no conclusive answer; see ``client.Client.get``.
    """
    from tokctl.client import Client

    with Client(msgspec.structs.replace(connection, credential=lambda: secret)) as client:
        answer = client.get(("api", "v1", "processes"), {"limit": "1"}, accept=(401, 403, 404))
    verdicts = {
        401: (False, "rejected by the server" if secret else "the server requires a credential"),
        403: (True, "accepted, but without access to processes"),
        404: (None, "cannot check: the server has no processes endpoint"),
    }
    return CredentialCheck(*verdicts.get(answer.status, (True,)))
