"""Sentences about the ledger, for the doctor and for ``revoke --orphans``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokctl.model.api_tokens import ApiToken
from tokctl.text import count

if TYPE_CHECKING:
    from tokctl.api_tokens.custody.ledger import LedgerEntry
    from tokctl.api_tokens.registries.protocol import Registry


def format_tokens(tokens: Sequence[ApiToken]) -> str:
    """Return API tokens by id and name: ``7 'ci', 8 'grafana'``."""
    return ", ".join(f"{token.id} '{token.name}'" for token in tokens)


def format_uncertain(tokens: Sequence[ApiToken]) -> str:
    """Return that some of these API tokens are orphans."""
    return f"An interrupted run created one of the API tokens {format_tokens(tokens)}; it is unknown which."


def format_stale(entries: Sequence[LedgerEntry], registry: Registry) -> str:
    """Return that these entries are about API tokens that the registry does not have any more."""
    named = ", ".join(f"{entry.token_id or '?'} '{entry.name}'" for entry in entries)
    return (
        f"{count(len(entries), 'ledger entry', 'ledger entries')} of {registry.where} "
        f"{'is' if len(entries) == 1 else 'are'} stale ({named}): the store was created again or restored, the API "
        "token was renamed elsewhere, or tokctl 0.1 wrote the entry."
    )
