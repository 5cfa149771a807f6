"""``tokctl api-tokens secret``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tokctl.access.model import VALID, ApiToken
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import NotFoundError, UnreachableError

if TYPE_CHECKING:
    from tokctl.registries.base import Registry

KEYRING = "keyring"


def secret(app: App, token: ropt.Key) -> int:
    """Print the secret of an API token, if it was kept: in the keyring, or in a file that 'create' or 'rotate' wrote.

    It stands alone on stdout. Of several API tokens with one name, as there are after a rotation, it is the newest's.
    """
    from tokctl.custody.ledger import Ledger
    from tokctl.custody.places import held_at

    registry = app.open_registry()
    found = _wanted(app, registry, token)
    number = found if isinstance(found, str) else str(found.id)
    entry = Ledger().find(registry.origin, number)
    for place in dict.fromkeys((*(() if entry is None else (entry.place,)), KEYRING)):
        kept = held_at(place, registry.origin, number)
        # Another token had the id, perhaps, in a store that was here before.
        if kept is not None and (isinstance(found, str) or kept.startswith(found.token.rstrip(".…"))):
            sys.stdout.write(f"{kept}\n")
            return 0
    raise NotFoundError(f"the secret of API token {number} is in no place that can be read here.",
                        "'tokctl api-tokens rotate' makes another.")  # fmt: skip


def _wanted(app: App, registry: Registry, word: str) -> ApiToken | str:
    """The API token that is meant; its id alone, where the server does not answer."""
    ropt.check_key(word)
    if word.isdecimal():
        try:
            return ropt.find(registry, word)
        except UnreachableError:
            return word
    valid = [one for one in registry.named(word) if one.state(app.now) == VALID]
    return valid[0] if valid else ropt.find(registry, word)


app = command(
    secret,
    takes=(*opt.STORE, *opt.SERVER),
    examples=("TOKCTL_API_KEY=$(tokctl api-tokens secret ci) make deploy", "tokctl api-tokens secret 7 | pbcopy"),
)
