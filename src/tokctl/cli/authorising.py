"""What the ``auth`` commands share: which server, its place in the keyring, and whether it accepts a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tokctl.cli.app import App
from tokctl.errors import TokctlError
from tokctl.vaults.credentials import account, connection_of, registry_connection_of
from tokctl.vaults.keyring import Keyring

if TYPE_CHECKING:
    from tokctl.client import Connection


class Verdict(NamedTuple):
    """What a server makes of a secret: it accepts it, or does not (False), or nobody knows (None); and what to add."""

    accepted: bool | None
    note: str = ""


def server_of(app: App, *, registry: bool) -> Connection:
    """How to reach the server that the settings name, or that of the API tokens. Raises UsageError: they name none."""
    return (registry_connection_of if registry else connection_of)(app.settings)


def keyring_of(connection: Connection) -> Keyring:
    """The server's place in the keyring."""
    return Keyring(account(connection.url))


def try_secret(connection: Connection, secret: str | None) -> Verdict:
    """Ask for something that needs a credential.

    Raises:
        TokctlError: no answer tells; see ``client.Client.get``.
    """
    from tokctl.client import Client

    with Client(msgspec.structs.replace(connection, credential=lambda: secret)) as client:
        answer = client.get(("api", "v1", "processes"), {"limit": "1"}, accept=(401, 403, 404))
    if answer.status == 401:
        return Verdict(False, "the server does not accept it" if secret else "the server asks for one")
    if answer.status == 403:
        return Verdict(True, "the server accepts it, but it may not ask for processes")
    if answer.status == 404:
        return Verdict(None, "the server knows no processes, so nobody can tell whether it accepts the secret")
    return Verdict(True)


def verdict_of(connection: Connection, secret: str | None) -> Verdict:
    """The same, where no answer is no error: nobody knows, and why."""
    try:
        return try_secret(connection, secret)
    except TokctlError as error:
        return Verdict(None, error.message.rstrip("."))
