"""Revokes API tokens one after another, and removes what is known here of their secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.errors import TokctlError
from tokctl.model.api_tokens import ApiToken

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry


class RevocationResult(Struct, frozen=True, kw_only=True):
    """Whether an API token was revoked, why not, and from which place its secret was removed."""

    token: ApiToken
    revoked: bool
    error: TokctlError | None = None
    removed_from: str | None = None

    @property
    def message(self) -> str | None:
        """Why it was not revoked."""
        return None if self.error is None else self.error.message


def revoke_api_tokens(
    registry: Registry,
    tokens: Iterable[ApiToken],
    reason: str,
    *,
    on_revoked: Callable[[ApiToken], object] = lambda _: None,
    on_result: Callable[[RevocationResult], object] = lambda _: None,
) -> list[RevocationResult]:
    """Revoke API tokens; one that cannot be revoked does not stop the others. ``reason`` is for the audit.

    ``on_revoked`` is called as soon as the registry has revoked an API token, ``on_result`` with each result. An
    interruption may come in between, as a keyring may be slow to remove the secret.
    """
    from tokctl.api_tokens.custody.ledger import forget_token
    from tokctl.api_tokens.custody.sinks import remove_from_keyring

    results = []
    for token in tokens:
        try:
            registry.revoke(str(token.id), reason=reason)
        except TokctlError as error:
            result = RevocationResult(token=token, revoked=False, error=error)
        else:
            on_revoked(token)
            place = remove_from_keyring(registry.origin, token)
            forget_token(registry, token)
            result = RevocationResult(token=token, revoked=True, removed_from=place)
        results.append(result)
        on_result(result)
    return results
