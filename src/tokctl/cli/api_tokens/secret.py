"""``tokctl api-tokens secret``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tokctl.api_tokens.secrets import fingerprint
from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import NotFoundError, TokctlError, UnreachableError
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
        if kept is not None and _is_secret_of(found, kept, entry):
            sys.stdout.write(f"{kept}\n")
            return 0
    raise NotFoundError(
        f"no saved secret of API token {number} found.",
        _explain_unreadable(entry, number) or "Create a new one with 'tokctl api-tokens rotate'.",
    )


def _is_secret_of(found: ApiToken | str, secret: str, entry: LedgerEntry | None) -> bool:
    """Return whether a secret is that of the API token: an earlier store in the same place may have had another one."""
    if not isinstance(found, str):
        return secret.startswith(found.token.rstrip(".…"))
    return entry is None or entry.digest in {None, fingerprint(secret)}


def _explain_unreadable(entry: LedgerEntry | None, token_id: str) -> str:
    """Return why the place of a secret cannot be read, such as the rights of its file; empty if it can."""
    from tokctl.api_tokens.custody.sinks import VaultSink, is_readable

    if entry is not None and is_readable(entry.place):
        try:
            VaultSink(entry.place, entry.origin).read_current(token_id)
        except TokctlError as error:
            reason = str(error)
            return reason[:1].upper() + reason[1:]
    return ""


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
