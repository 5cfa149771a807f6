"""Helpers of the ``auth`` commands: the server, its entry in the keyring, and whether it accepts a secret."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from tokctl.api_tokens.vaults.credentials import resolve_connection, server_account_name
from tokctl.api_tokens.vaults.keyring import Keyring
from tokctl.cli.app import App
from tokctl.kinds import BASIC_KINDS, FALLBACK_ENGINE, SERVER_ENGINES

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


def find_api(connection: Connection, kind: str | None, secret: str | None, *, registry: bool) -> tuple[Connection, str]:
    """Return how to reach the root of a server's API with a secret, and the kind of the server.

    A registry is not an engine: its kind is not detected.
    """
    from tokctl.client.credential import SharedCredential
    from tokctl.engines.detection import check_engine_kind, find_server
    from tokctl.server_address import parse_url

    connection = replace(connection, credential=SharedCredential(lambda: secret))
    if registry:
        return connection, FALLBACK_ENGINE
    check_engine_kind(kind)
    found = find_server(connection, parse_url(connection.url), kind)
    return replace(connection, url=found.url, basic=found.kind in BASIC_KINDS), found.kind


def check_secret(connection: Connection, kind: str) -> CredentialCheck:
    """Send a request that needs a credential, and return what the answer says about it.

    Raises TokctlError: there is no conclusive answer; see ``client.Client.get``.
    """
    from tokctl.client import Client

    secret = connection.credential()
    probe = import_module(SERVER_ENGINES[kind]).CREDENTIAL_PROBE
    with Client(connection) as client:
        answer = client.get(probe.segments, probe.params, accept=(401, 403, 404))
    verdicts = {
        401: (False, "rejected by the server" if secret else "the server requires a credential"),
        403: (True, "accepted, but without access to processes"),
        404: (None, "cannot check: the server has no processes endpoint"),
    }
    return CredentialCheck(*verdicts.get(answer.status, (True,)))
