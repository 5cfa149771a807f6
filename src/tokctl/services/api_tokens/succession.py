"""Which API tokens were rotated to which, as far as the ledger of this user knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.errors import TokctlError
from tokctl.model.api_tokens import ApiToken

if TYPE_CHECKING:
    from tokctl.api_tokens.custody.ledger import LedgerEntry
    from tokctl.api_tokens.registries.protocol import Registry


class Succession(Struct, frozen=True):
    """The ids of the predecessor and the successor of an API token; None if there is none, or it is unknown."""

    rotated_from: str | None = None
    rotated_to: str | None = None


class Successions:
    """The rotations of a registry's API tokens. The ledger is read when it is first needed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(self, token: ApiToken) -> Succession:
        """Return the predecessor and the successor of an API token. Never fails."""
        rotated_from = rotated_to = None
        for entry in self._entries.get(str(token.id), ()):
            if entry.is_about(token):
                rotated_from = entry.replaces
            elif entry.is_successor_of(token):
                rotated_to = entry.token_id
        return Succession(rotated_from, rotated_to)

    def find_newest(self, tokens: Sequence[ApiToken]) -> ApiToken | None:
        """Return the last API token of one chain of rotations; None if these are several chains."""
        ids = {str(token.id) for token in tokens}
        last = [token for token in tokens if self.of(token).rotated_to not in ids]
        return last[0] if len(last) == 1 else None

    @cached_property
    def _entries(self) -> Mapping[str, Sequence[LedgerEntry]]:
        """The entries of API tokens whose secret was saved, by the ids of the new and the old API token."""
        from tokctl.api_tokens.custody.ledger import CREATED, PLANNED, Ledger

        found: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
        with suppress(TokctlError):
            for entry in Ledger().entries_about(self._registry):
                if entry.step not in {PLANNED, CREATED}:
                    for token_id in (entry.token_id, entry.replaces):
                        found[token_id or ""].append(entry)
        return found
