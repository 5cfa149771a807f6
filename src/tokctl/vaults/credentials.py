"""The credential for a server: which vault it is in. It is read when it is first needed, and never before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.config.settings import API_KEY
from tokctl.errors import TokctlError, UsageError
from tokctl.trace import trace

if TYPE_CHECKING:
    from tokctl.client import Connection
    from tokctl.config import Settings


def _say(text: str) -> None:
    sys.stderr.write(f"tokctl: {text}\n")


class Credential(Struct, frozen=True):
    """Calling it reads the secret, or returns None where there is none. It shows where that is, never what it is.

    Without a ``place`` that the user named it is looked for in ``TOKCTL_API_KEY`` and in the keyring, and
    a keyring that cannot be used is none: ``warn`` is told why, unless there simply is no keyring.
    """

    server: str
    place: str | None = None
    warn: Callable[[str], object] = _say

    def __repr__(self) -> str:
        return f"Credential({shown(self.place)!r})"

    def __call__(self) -> str | None:
        """Read the secret. Raises as ``vaults.base.Vault``."""
        from tokctl.vaults import open_vault

        trace("the credential for %s: from %s", self.server, shown(self.place))
        if self.place is None and os.environ.get(API_KEY):
            return open_vault(f"env:{API_KEY}", "").read()
        if self.place is not None and self.place != "keyring":
            return open_vault(self.place, account(self.server)).read()
        from tokctl.vaults.keyring import Keyring, NoKeyringError, is_absent

        if is_absent(os.environ):
            return self._without(NoKeyringError())
        try:
            return Keyring(account(self.server)).read()
        except TokctlError as error:
            return self._without(error)

    def _without(self, error: TokctlError) -> str | None:
        """Go on without a keyring, unless the user named it."""
        from tokctl.vaults.keyring import NoKeyringError

        if self.place is not None:
            raise error
        if not isinstance(error, NoKeyringError):
            self.warn(f"{error.message} Going on without a credential.")
        return None


def connection_of(settings: Settings, *, warn: Callable[[str], object] = _say) -> Connection:
    """Return how to reach the server that the settings name; its credential is read when it is first asked for.

    Raises:
        UsageError: the settings name no server, or one whose address cannot be one.
    """
    if settings.server is None:
        raise UsageError("no server is named.", "Say --server URL, or --context with one that has a server.")
    return connection_to(settings.server, settings, settings.credential, warn=warn)


def registry_connection_of(settings: Settings, *, warn: Callable[[str], object] = _say) -> Connection:
    """Return how to reach the server of the API tokens: its own, or else the same. Raises as ``connection_of``."""
    if settings.registry_server is None:
        return connection_of(settings, warn=warn)
    return connection_to(settings.registry_server, settings, settings.registry_credential, warn=warn)


def connection_to(
    server: str, settings: Settings, place: str | None, *, warn: Callable[[str], object] = _say
) -> Connection:
    """Return how to reach a server with a credential from some place, and all else as the settings say."""
    from tokctl.client import Connection, check_url

    check_url(server)
    return Connection(
        url=server,
        credential=Credential(server, place, warn),
        ca_file=settings.ca_file,
        insecure=settings.insecure,
        timeout=settings.timeout,
        connect_timeout=settings.connect_timeout,
    )


def shown(place: str | None) -> str:
    """Where a credential is, fit to be shown: of a command only the program's name."""
    kind, colon, rest = (place or "keyring").partition(":")
    return f"{kind}:{(rest.split() or [''])[0]}" if kind == "command" else f"{kind}{colon}{rest}"


def account(server: str) -> str:
    """Under which name the keyring keeps a server's secret: its origin, such as ``https://engine.example:27555``."""
    from tokctl.client.address import parse_url

    base = parse_url(server)
    if base.socket is not None:
        return f"unix:{base.socket}"
    usual = {"http": 80, "https": 443}[base.scheme]
    return base._replace(port=None).origin if base.port == usual else base.origin
