"""What differs between the kinds of servers with API tokens.

``http.HttpRegistry`` does what those with the documented API have in common; a kind with another API opens a registry
of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from tokctl.api_tokens.audit import AuditEntry, ChainHead
from tokctl.api_tokens.registries.capabilities import RegistryCapabilities
from tokctl.api_tokens.registries.documents import ApiTokenPage
from tokctl.api_tokens.registries.protocol import Registry, VerificationResult
from tokctl.api_tokens.vaults.credentials import jwt_expiry
from tokctl.client import Client, ClientResponse, Connection
from tokctl.client.connection import CredentialProbe
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.model.api_tokens import UNKNOWN, ApiToken

TOKENS_PATH = ("api", "api-tokens")
FIRST_TOKEN = CredentialProbe(TOKENS_PATH, {"page": "1", "pageSize": "1"})

LOGIN_HINT = "Log in again with 'tokctl auth login --email EMAIL'."


class IntrospectionAnswer(NamedTuple):
    """A server's response about a secret, and the id of its API token if the server sends it."""

    result: VerificationResult
    token_id: str | None


class AuditLog(Protocol):
    """The audit of a server. Arguments are as those of ``Registry.audit``."""

    def entries(self, *, after: int, token_id: str | None, limit: int | None, newest: bool) -> Iterator[AuditEntry]:
        """Yield entries."""
        ...

    def head(self) -> ChainHead:
        """Return the end of the hash chain."""
        ...


class ServerKind(ABC):
    """A kind of server. A new kind overrides ``recognizes``, and what it does differently.

    The client is passed to each method, as introspection is tried with two credentials.
    """

    name: ClassVar[str]
    capabilities: ClassVar[RegistryCapabilities]
    probe: ClassVar[CredentialProbe] = FIRST_TOKEN
    """The request by which the kind is recognized, and that is refused without a valid credential."""
    address_endings: ClassVar[tuple[str, ...]] = ("/api/v1", "/api/api-tokens", "/api-tokens")
    """Paths below the root of the API that an address may have: at its end, or with the path of a resource."""
    has_processes: ClassVar[bool] = False
    """Whether the same server has processes."""
    filters_by_name: ClassVar[bool] = False
    """Whether the list can be restricted with ``name=``."""

    @abstractmethod
    def recognizes(self, answer: ClientResponse) -> bool:
        """Return whether the response to a probe without a credential, of any kind, is from a server of this kind."""

    def open(self, connection: Connection, clock: Callable[[], datetime], warn: Callable[[str], object]) -> Registry:
        """Return the registry of a server, which is not contacted yet."""
        from tokctl.api_tokens.registries.http import HttpRegistry

        return HttpRegistry(connection, self, clock, warn)

    def matches(self, page: ApiTokenPage) -> bool:  # noqa: ARG002 - for kinds that can tell
        """Return whether a page of the list may come from a server of this kind."""
        return True

    def complete(self, token: ApiToken) -> ApiToken:
        """Return an API token with what follows from the kind of server."""
        return token

    def log_in(self, client: Client, email: str, password: str) -> str:  # noqa: ARG002 - for kinds that can
        """Exchange a password for a credential and return it.

        Raises NotAllowedError: the server rejects them; NotFoundError: it has no login with email and password.
        """
        raise no_login_error(client)

    def rejection_hint(self, secret: str | None) -> str:
        """Return what to do after the server has rejected this credential, or required one; '' for the usual hint."""
        ended = jwt_expiry(secret or "")
        if ended is None or ended > datetime.now(UTC):
            return ""
        return f"The session ended at {ended:%Y-%m-%d %H:%M} UTC. {LOGIN_HINT}"

    def introspect(self, client: Client, secret: str) -> IntrospectionAnswer | None:  # noqa: ARG002 - for kinds that can
        """Ask the server about a secret. None if it does not support this, or not for this client."""
        return None

    def state_of_rejected(self, detail: str) -> str:  # noqa: ARG002 - for kinds that can tell
        """Return the state of a secret that the server rejects with this message."""
        return UNKNOWN

    def audit_log(self, client: Client) -> AuditLog | None:  # noqa: ARG002 - for kinds that have one
        """Return the server's audit; None if it has none."""
        return None

    def explain_failure(self, status: int | None, credential: Callable[[], str | None]) -> str:  # noqa: ARG002
        """Return a sentence to add to the error after a request that failed with this status, or nothing.

        Args:
            status: the HTTP status; None without a response.
            credential: returns the secret that the request was sent with.
        """
        return ""


def no_login_error(client: Client) -> NotFoundError:
    """Return the error for a server without a login."""
    return NotFoundError(
        f"{client.connection.url} has no login with email and password.", "Remove --email and use an API key."
    )


def login_refused_error(client: Client) -> NotAllowedError:
    """Return the error for a wrong password."""
    return NotAllowedError(
        f"{client.connection.url} rejected the email address and password. Nothing was saved.", "Check them."
    )


def no_token_error(client: Client) -> InputError:
    """Return the error for a login without a credential in its response."""
    return InputError(f"{client.connection.url} returned no token.", "Remove --email and use an API key.")


def json_object(answer: ClientResponse) -> dict[str, Any]:
    """Return the JSON object of a response; an empty one if it is something else."""
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
