"""What differs between the kinds of servers that have the documented API-token API.

``http.HttpRegistry`` does what they have in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple, Protocol

from tokctl.api_tokens.audit import AuditEntry, ChainHead
from tokctl.api_tokens.registries.documents import ApiTokenPage
from tokctl.api_tokens.registries.protocol import RegistryCapabilities, VerificationResult
from tokctl.client import Client

TOKENS_PATH = ("api", "api-tokens")


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
    """A kind of server. A new kind overrides ``detect``, and the methods for features beyond the minimum.

    The client is passed to each method, as introspection is tried with two credentials.
    """

    capabilities: ClassVar[RegistryCapabilities] = RegistryCapabilities(
        scopes=False, can_clear_fields=False, has_audit=False
    )
    reserved_ids: ClassVar[frozenset[str]] = frozenset()
    """Path segments that are endpoints of this kind, in the place of the id of an API token."""
    filters_by_name: ClassVar[bool] = False
    """Whether the list can be restricted with ``name=``."""

    @abstractmethod
    def detect(self, page: ApiTokenPage) -> bool:
        """Return whether a page of the list comes from a server of this kind."""

    def introspect(self, client: Client, secret: str) -> IntrospectionAnswer | None:  # noqa: ARG002 - for kinds that can
        """Ask the server about a secret. None if it does not support this, or not for this client."""
        return None

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
