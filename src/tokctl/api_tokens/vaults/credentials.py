"""The credential for a server: which vault holds it. It is read when it is first needed, not before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tokctl.config.settings import API_KEY
from tokctl.errors import TokctlError, UsageError
from tokctl.kinds import BASIC_KINDS
from tokctl.model.rates import parse_rate
from tokctl.verbose_log import trace

if TYPE_CHECKING:
    from tokctl.client import Connection
    from tokctl.config import Settings


def _warn_on_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


class Credential(Struct, frozen=True):
    """The credential for a server. Calling it reads the secret; None means that there is none.

    If the user named no ``place``, the secret is taken from ``TOKCTL_API_KEY`` or from the keyring. A keyring that
    does not work counts as empty then, and ``warn`` is called with the reason, unless there is no keyring.
    The repr has the place, never the secret.
    """

    server: str
    place: str | None = None
    warn: Callable[[str], object] = _warn_on_stderr

    def __repr__(self) -> str:
        return f"Credential({format_place(self.place)!r})"

    def __call__(self) -> str | None:
        """Read the secret. Raises as ``vaults.protocol.SecretSource.read``."""
        from tokctl.api_tokens.vaults import open_source

        trace("the credential for %s: looked up in %s", self.server, format_place(self.place))
        if self.place is None and os.environ.get(API_KEY):
            return open_source(f"env:{API_KEY}", "").read()
        if self.place is not None and self.place != "keyring":
            return open_source(self.place, server_account_name(self.server)).read()
        from tokctl.api_tokens.vaults.keyring import Keyring, NoKeyringError, is_keyring_absent

        try:
            if is_keyring_absent(os.environ):
                raise NoKeyringError
            return Keyring(server_account_name(self.server)).read()
        except TokctlError as error:
            if self.place is not None:  # the user named the keyring
                raise
            if not isinstance(error, NoKeyringError):
                self.warn(f"{error.message} Continuing without a credential.")
            return None


def resolve_connection(
    settings: Settings, *, registry: bool = False, warn: Callable[[str], object] = _warn_on_stderr
) -> Connection:
    """Return how to reach the server that the settings name. Its credential is read with the first request.

    With ``registry`` it is the server of the API tokens: ``registry_server`` if it is set, or else ``server``. Raises
    UsageError: the settings name no server, or its URL is invalid.
    """
    if registry and settings.registry_server is not None:
        return build_connection(settings.registry_server, settings, registry_place(settings), warn=warn)
    if settings.server is None:
        raise UsageError("no server is set.", "Use --server URL, or --context with a context that has a server.")
    connection = build_connection(settings.server, settings, settings.credential, warn=warn)
    return msgspec.structs.replace(connection, basic=settings.engine_kind in BASIC_KINDS)


def registry_place(settings: Settings) -> str | None:
    """Return where the credential for ``registry_server`` is: not in TOKCTL_API_KEY if that is for another server."""
    place = settings.registry_credential
    if place is not None or settings.server is None or settings.registry_server is None:
        return place
    same = server_account_name(settings.server) == server_account_name(settings.registry_server)
    return None if same else "keyring"


def build_connection(
    server: str, settings: Settings, place: str | None, *, warn: Callable[[str], object] = _warn_on_stderr
) -> Connection:
    """Return how to reach a server, with the credential from a place, and with the TLS settings and timeouts given."""
    from tokctl.client import Connection, check_url

    check_url(server)
    return Connection(
        url=server,
        credential=Credential(server, place, warn),
        ca_file=settings.ca_file,
        insecure=settings.insecure,
        timeout=settings.timeout,
        connect_timeout=settings.connect_timeout,
        rate=None if settings.rate is None else parse_rate(settings.rate),
    )


def format_place(place: str | None) -> str:
    """Return a place for messages: of a command only the name of the program, as arguments may hold secrets."""
    kind, colon, rest = (place or "keyring").partition(":")
    return f"{kind}:{(rest.split() or [''])[0]}" if kind == "command" else f"{kind}{colon}{rest}"


def server_account_name(server: str) -> str:
    """Return a server's account name in the keyring: its origin, such as ``https://engine.example:27555``."""
    from tokctl.server_address import DEFAULT_PORTS, parse_url

    base = parse_url(server)
    if base.socket is not None:
        return f"unix:{base.socket}"
    return base._replace(port=None).origin if base.port == DEFAULT_PORTS[base.scheme] else base.origin


def jwt_expiry(secret: str) -> datetime | None:
    """Return when a secret expires if it is a JWT (claim ``exp``, RFC 7519), else None. Nothing is verified."""
    from base64 import urlsafe_b64decode

    parts = secret.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, Any])
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
