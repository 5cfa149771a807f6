"""What the registries of servers have in common: the connection, lost answers, API tokens that must not be used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache

from msgspec.structs import replace

from tokctl.api_tokens.registries.capabilities import RegistryCapabilities
from tokctl.api_tokens.registries.detection import forget_kind
from tokctl.api_tokens.registries.protocol import (
    ApiTokenSpec,
    CreationOutcomeUnknownError,
    Registry,
    UnsupportedChangeError,
)
from tokctl.api_tokens.registries.server_kind import ServerKind
from tokctl.api_tokens.vaults.credentials import server_account_name
from tokctl.client import Client, Connection, OutcomeUnknownError, check_url
from tokctl.errors import NotFoundError, TokctlError, UnreachableError

SHOW_HINT = "Check the result with 'tokctl api-tokens show {}'."


class ServerRegistry(Registry):
    """The API tokens of a server of a known kind."""

    def __init__(
        self,
        connection: Connection,
        kind: ServerKind,
        clock: Callable[[], datetime],
        warn: Callable[[str], object],
    ) -> None:
        self._connection = replace(connection, credential=cache(connection.credential))
        self._kind = kind
        self.client = Client(self._connection, warn=warn)
        self.clock = clock
        self.where = check_url(connection.url)
        self.origin = server_account_name(connection.url)

    def capabilities(self) -> RegistryCapabilities:
        """Return what the kind of server can do."""
        return self._kind.capabilities

    @abstractmethod
    def _delete(self, token_id: str, reason: str) -> None:
        """Revoke an API token that exists. Raises NotFoundError: it does not."""

    @contextmanager
    def _client_of(self, secret: str) -> Iterator[Client]:
        """Open a client that sends a secret instead of the credential.

        Its warnings would be about another secret than the user's credential, or the same as before.
        """
        with Client(replace(self._connection, credential=lambda: secret), warn=lambda _text: None) as client:
            yield client

    @contextmanager
    def _translate_lost_answers(self, hint: str) -> Iterator[None]:
        """Raise CreationOutcomeUnknownError, with this hint, if the response to a change was lost."""
        try:
            yield
        except OutcomeUnknownError as error:
            explanation = self._kind.explain_failure(error.status, self._connection.credential)
            raise CreationOutcomeUnknownError(f"{error.message}{explanation}", hint) from None

    def _revoke_unusable(self, token_id: str, spec: ApiTokenSpec, how: str) -> TokctlError:
        """Revoke an API token that was just created and must not be used; return the error to raise."""
        report = f"{self.where} created API token {token_id} {how}."
        try:
            if self.get(token_id).name != spec.name:
                return CreationOutcomeUnknownError(f"{report} Another API token has this id.")
            self._delete(token_id, "the created API token differs from the request")
        except NotFoundError:
            return UnsupportedChangeError(f"{report} It no longer exists.")
        except TokctlError as error:
            return CreationOutcomeUnknownError(
                f"{report} It could not be revoked: {error.message}",
                f"Revoke it with 'tokctl api-tokens revoke {token_id}'.",
            )
        return UnsupportedChangeError(f"{report} It was revoked.")

    def _wrong_kind_error(self) -> UnreachableError:
        """Forget the kind of a server that does not respond like one of its kind; return the error to raise."""
        remembered = forget_kind(self._connection)
        return UnreachableError(
            f"{self.where} does not respond like a server of kind {self._kind.name}.",
            "Run the command again to detect the kind again."
            if remembered
            else "Remove --registry-kind to detect the kind.",
        )

    def _no_tokens_error(self, error: NotFoundError) -> TokctlError:
        """Return the error for a server without a list of API tokens; its kind is forgotten."""
        if forget_kind(self._connection):
            return UnreachableError(error.message, "Run the command again to detect the kind of the server again.")
        return NotFoundError(error.message, "Check the server address: it has no API tokens endpoint.")

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
