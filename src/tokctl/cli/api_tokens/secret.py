"""``tokctl api-tokens secret``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import NotFoundError, UnreachableError
from tokctl.model.api_tokens import VALID, ApiToken
from tokctl.services.api_tokens.lookup import check_token_ref, find_api_token

if TYPE_CHECKING:
    from tokctl.api_tokens.custody.ledger import Ledger, LedgerEntry
    from tokctl.api_tokens.registries.protocol import Registry

KEYRING = "keyring"


def secret(app: App, token: ropt.TokenArgument) -> int:
    """Print the saved secret of an API token from the keyring, or from the file that 'create' or 'rotate' wrote.

    Nothing else is written to stdout. If several API tokens have the name, as after a rotation, the newest is used.
    """
    from tokctl.api_tokens.custody.ledger import Ledger
    from tokctl.api_tokens.custody.sinks import read_saved_secret

    registry = app.open_registry()
    found = _find_token(app, registry, token)
    number = found if isinstance(found, str) else str(found.id)
    entry = _find_entry(Ledger(), registry, found)
    for place in dict.fromkeys((*(() if entry is None else (entry.place,)), KEYRING)):
        kept = read_saved_secret(place, registry.origin, number)
        # An earlier store in the same place may have had another token with this id.
        if kept is not None and (isinstance(found, str) or kept.startswith(found.token.rstrip(".…"))):
            sys.stdout.write(f"{kept}\n")
            return 0
    raise NotFoundError(
        f"no saved secret of API token {number} found.",
        "Create a new one with 'tokctl api-tokens rotate'.",
    )


def _find_entry(ledger: Ledger, registry: Registry, found: ApiToken | str) -> LedgerEntry | None:
    """Return the entry of an API token; without an answer of the server, the latest one with its id."""
    if not isinstance(found, str):
        return ledger.find_entry(registry, found)
    return next((one for one in reversed(ledger.entries(registry.origin)) if one.token_id == found), None)


def _find_token(app: App, registry: Registry, word: str) -> ApiToken | str:
    """Return the API token; only its id if the server does not answer."""
    check_token_ref(word)
    if word.isdecimal():
        try:
            return find_api_token(registry, word)
        except UnreachableError:
            return word
    valid = [one for one in registry.find_by_name(word) if one.state(app.now) == VALID]
    return valid[0] if valid else find_api_token(registry, word)


app = command(
    secret,
    shared_options=(*opt.STORE, *opt.SERVER),
    examples=("TOKCTL_API_KEY=$(tokctl api-tokens secret ci) make deploy", "tokctl api-tokens secret 7 | pbcopy"),
)
