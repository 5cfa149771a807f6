"""``tokctl api-tokens secret``."""

from __future__ import annotations

import sys

from tokctl.access.model import VALID
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import NotFoundError


def secret(app: App, token: ropt.Key) -> int:
    """Print the secret of an API token, if it was kept: in the keyring, or in a file that 'create' or 'rotate' wrote.

    It stands alone on stdout. Of several API tokens with one name, as there are after a rotation, it is the newest's.
    """
    from tokctl.custody.ledger import Ledger
    from tokctl.custody.places import held_at

    registry = app.open_registry()
    if token.isdecimal():
        ids = [token]
    else:
        valid = [one for one in registry.named(token) if one.state(app.now) == VALID]
        ids = [str(one.id) for one in valid[:1]] or [str(ropt.find(registry, token).id)]
    entry = Ledger().find(registry.origin, ids[0])
    for place in ("keyring", *(() if entry is None else (entry.place,))):
        found = held_at(place, registry.origin, ids[0])
        if found is not None:
            sys.stdout.write(f"{found}\n")
            return 0
    raise NotFoundError(f"the secret of API token {ids[0]} is in no place that can be read here.",
                        "'tokctl api-tokens rotate' makes another.")  # fmt: skip


app = command(
    secret,
    takes=(*opt.STORE, *opt.SERVER),
    examples=("TOKCTL_API_KEY=$(tokctl api-tokens secret ci) make deploy", "tokctl api-tokens secret 7 | pbcopy"),
)
