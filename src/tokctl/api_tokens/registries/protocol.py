"""The protocol of a registry: where API tokens are kept, as records without their secrets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from tokctl.api_tokens.audit import AuditEntry, ChainHead
from tokctl.api_tokens.registries.capabilities import RegistryCapabilities
from tokctl.errors import NotFoundError, TokctlError, UnreachableError
from tokctl.model.api_tokens import API_TOKEN_TYPES, READ_ONLY, ApiToken
from tokctl.model.scopes import DEFAULT_SCOPES, validate_scopes
from tokctl.text import one_line, suggest


class ApiTokenSpec(Struct, frozen=True, kw_only=True):
    """The API token to create. With ``scopes`` None the registry chooses its default scopes.

    With ``may_expire_earlier``, custody requests an earlier expiry if the server has a limit. ``replaces`` is the id of
    the API token whose successor it is, for an audit.
    """

    name: str
    type: str = READ_ONLY
    description: str | None = None
    scopes: tuple[str, ...] | None = None
    allowed_cidrs: tuple[str, ...] = ()
    expires_at: datetime | None = None
    may_expire_earlier: bool = False
    replaces: str | None = None


class CreatedToken(NamedTuple):
    """A new API token and its secret, which the registry does not give out again. The repr hides the secret."""

    token: ApiToken
    secret: str

    def __repr__(self) -> str:
        return f"CreatedToken(token={self.token!r})"


class VerificationResult(Struct, frozen=True, kw_only=True):
    """The state of a secret, as in ``model.api_tokens``, and its API token if the registry returns it."""

    state: str
    token: ApiToken | None = None


class CreationOutcomeUnknownError(UnreachableError):
    """A change was requested, but there was no readable response: it may have been made."""


class UnsupportedChangeError(TokctlError):
    """The registry does not support the request; nothing was changed."""

    exit_code = 2


class Registry(Protocol):
    """A place that keeps API tokens. Ids are texts, of digits in most registries.

    A new kind derives from this class and implements the abstract methods. The other methods have a generic
    implementation; a kind overrides those that it can implement better.

    Every method that reaches the registry raises UnreachableError, UntrustedError, NotAllowedError, InputError or
    StoreError as ``tokctl.client`` and ``tokctl.store`` do.
    """

    where: str
    """Name of the registry in messages, such as ``the store /x/tokctl.db`` or ``https://cms.example``."""
    origin: str
    """Name of the registry in the keyring and in the ledger: a server's origin, or ``file:///x/tokctl.db``."""

    types: tuple[str, ...] = API_TOKEN_TYPES
    """The types that an API token can be created with."""

    default_scopes: tuple[str, ...] = DEFAULT_SCOPES
    """The scopes of a new API token that is created without any."""

    @abstractmethod
    def capabilities(self) -> RegistryCapabilities:
        """Return what the registry can do."""
        ...

    @abstractmethod
    def list(self) -> Iterator[ApiToken]:
        """Yield all API tokens that are not revoked, the newest first, each once."""
        ...

    @abstractmethod
    def get(self, token_id: str) -> ApiToken:
        """Return an API token by its id. Raises NotFoundError: there is none, or it is revoked."""
        ...

    @abstractmethod
    def create(self, spec: ApiTokenSpec) -> CreatedToken:
        """Create an API token. A failed attempt is repeated only if the registry recognizes the repetition.

        Raises:
            UnsupportedChangeError: the registry cannot create such an API token.
            ExpiryLimitError: it does not allow such a late expiry.
            CreationOutcomeUnknownError: it is unknown whether it was created.
        """
        ...

    @abstractmethod
    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change fields of an API token and return it as it is afterwards.

        Args:
            token_id: its id.
            changes: new values of ``name``, ``description``, ``type``, ``scopes``, ``allowed_cidrs``, ``disabled``
                or ``expires_at``; fields that are missing here keep their values, and None removes a description or
                an expiry.

        Raises:
            NotFoundError: there is no such API token.
            UnsupportedChangeError: the registry cannot make these changes; checked before anything is sent.
        """
        ...

    @abstractmethod
    def revoke(self, token_id: str, *, reason: str = "") -> None:
        """Revoke an API token. ``reason`` goes into the audit, if there is one. Raises NotFoundError."""
        ...

    @abstractmethod
    def verify(self, secret: str) -> VerificationResult:
        """Return the state of a secret and its API token. Does not count as a use of the token where possible."""
        ...

    def regenerate(self, token_id: str) -> CreatedToken:
        """Give an API token a new secret; the old one is invalid from then on. Only where there is no grace period.

        Raises as ``create``, and NotFoundError: there is no such API token.
        """
        raise UnsupportedChangeError(f"{self.where} cannot replace the secret of API token {token_id}.")

    def check_type(self, name: str) -> str:
        """Return a type that an API token can be given. Raises UnsupportedChangeError: there is no such type."""
        if name not in self.types:
            raise UnsupportedChangeError(
                f"unknown API token type '{one_line(name, 60)}'{suggest(name, self.types)}.",
                f"Valid: {', '.join(self.types)}.",
            )
        return name

    def check_scopes(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the scopes with these names, each once. Raises UsageError: one of them does not exist."""
        return validate_scopes(names)

    def fit_type(self, name: str, scopes: Sequence[str]) -> str:  # noqa: ARG002 - for kinds whose types have scopes
        """Return the type of an API token with these scopes, both checked, if this type was asked for.

        Raises UnsupportedChangeError: they exclude each other.
        """
        return name

    def check_expiry(self, expires_at: datetime | None) -> datetime | None:
        """Return when a new API token can expire (None: never). Raises UnsupportedChangeError: not at this time."""
        return expires_at

    def page(self, page: int, size: int) -> tuple[Sequence[ApiToken], int]:
        """Return a page of the list and the number of all API tokens. Pages behind the last one are empty.

        Args:
            page: its number, from 1.
            size: tokens on a page, 1 to 100.
        """
        tokens = [*self.list()]
        return tokens[(page - 1) * size : page * size], len(tokens)

    def find_by_name(self, name: str) -> Sequence[ApiToken]:
        """Return the API tokens with exactly this name, the newest first."""
        return [token for token in self.list() if token.name == name]

    def audit(
        self,
        *,
        after: int = 0,  # noqa: ARG002 - for kinds that have an audit
        token_id: str | None = None,  # noqa: ARG002
        limit: int | None = None,  # noqa: ARG002
        newest: bool = False,  # noqa: ARG002
    ) -> Iterator[AuditEntry]:
        """Yield audit entries.

        Args:
            after: only entries with a higher number.
            token_id: only entries about this API token.
            limit: maximum number of entries, None for all.
            newest: newest first; otherwise in the order of their numbers.

        Raises:
            UnsupportedChangeError: the registry keeps no audit.
        """
        raise self._no_audit_error()

    def audit_head(self) -> ChainHead:
        """Return the end of the audit's hash chain. Raises UnsupportedChangeError: the registry keeps no audit."""
        raise self._no_audit_error()

    def identity(self) -> str | None:
        """Return a random text that another registry at the same place would not have; None if it has none."""
        return None

    def caller_id(self) -> str | None:
        """Return the id of the API token that is the credential of this registry; None if there is none."""
        return None

    def close(self) -> None:
        """Release connections and files."""

    def _no_audit_error(self) -> UnsupportedChangeError:
        return UnsupportedChangeError(f"{self.where} has no audit log of API tokens.")

    def _not_found_error(self, token_id: str) -> NotFoundError:
        return NotFoundError(f"API token {token_id} not found in {self.where}.", "See 'tokctl api-tokens list'.")


_FIELD_NEEDS = {
    "scopes": ("scopes", "does not support scopes: its API tokens have full access.", "Remove the scopes."),
    "allowed_cidrs": ("allowed_cidrs", "cannot limit API tokens to networks.", "Remove the networks."),
    "disabled": ("disabling", "cannot disable API tokens.", "Revoke the API token, or rotate it."),
}
"""Field of an API token → the capability that a registry needs for it, and the error without it."""


def check_fields(registry: Registry, fields: Iterable[str]) -> None:
    """Raise UnsupportedChangeError if a registry does not support a field, before anything is sent to it."""
    for field in fields:
        if field in _FIELD_NEEDS:
            capability, problem, hint = _FIELD_NEEDS[field]
            if not getattr(registry.capabilities(), capability):
                raise UnsupportedChangeError(f"{registry.where} {problem}", f"Nothing was changed. {hint}")
