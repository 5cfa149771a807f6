"""Lends an API token to a program: it is created for it, handed over, and revoked when the program ends, however."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from tokctl.access.model import ApiToken
from tokctl.custody.creating import Custody
from tokctl.custody.ledger import Entry, new_key
from tokctl.custody.places import ENVIRONMENT
from tokctl.custody.signals import Held, unhurried
from tokctl.errors import NotFoundError, NotSavedError, TokctlError
from tokctl.registries.base import Wanted


class _Hand:
    """Where the secret goes: from hand to hand."""

    name = ENVIRONMENT
    where = "the program's environment"

    def prove(self) -> None:
        """Nothing can be in the way."""

    def keep(self, token: ApiToken, secret: str) -> None:
        """Nothing need be done: whoever created the token has its secret."""


def lend(custody: Custody, wanted: Wanted, run: Callable[[ApiToken, str, Held], int]) -> int:
    """Create a token, let ``run`` work with it and its secret, and revoke it; returns what ``run`` does.

    Signals that ``run`` does not see to wait until all is done. If this program is killed the token expires by itself,
    and until then is known as an orphan.

    Raises:
        TokctlError: it cannot be created.
        NotSavedError: it could not be revoked.
    """
    entry = Entry(key=new_key(), origin=custody.registry.origin, name=wanted.name, place=ENVIRONMENT,
                  at=custody.clock())  # fmt: skip
    with custody.ledger.begun(entry), unhurried() as held:
        kept = custody.bring(wanted, _Hand(), entry)
        try:
            code = run(kept.token, kept.secret, held) if held.first is None else 0
        finally:
            _take_back(custody, kept.token, kept.entry)
    held.deliver()
    return code


def _take_back(custody: Custody, token: ApiToken, entry: Entry) -> None:
    try:
        with suppress(NotFoundError):
            custody.registry.revoke(str(token.id), why="what it was made for has ended")
    except TokctlError as error:
        raise NotSavedError(f"API token {token.id} '{token.name}' could not be revoked: {error.message}",
                            "It expires; until then 'revoke --orphans' removes it.") from None  # fmt: skip
    custody.ledger.drop(entry)
