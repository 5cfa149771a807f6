"""What the commands share that revoke API tokens: asking first, and one after another."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.access.model import ApiToken
from tokctl.cli.app import App
from tokctl.cli.progress import progress
from tokctl.cli.registry_options import ask
from tokctl.errors import TokctlError
from tokctl.render.human import count
from tokctl.render.views.api_tokens import Revocation, token_listing

if TYPE_CHECKING:
    from tokctl.registries.base import Registry


def agreed(app: App, found: Iterable[ApiToken], question: str) -> bool:
    """Show what is to go, and ask."""
    from tokctl.render.table import emit

    emit(token_listing(found, app.now), replace(app.out, stream=sys.stderr, format="table", columns=None))
    sys.stderr.write("\n")
    if ask(question):
        return True
    app.tell("Nothing was revoked.")
    return False


def revoke_all(
    app: App, registry: Registry, found: Sequence[ApiToken], reason: str
) -> tuple[list[Revocation], int]:  # fmt: skip
    """Revoke one after another; returns what came of each, and the exit code of the worst."""
    from tokctl.custody.ledger import forget
    from tokctl.custody.places import remove_kept

    done: list[Revocation] = []
    gone = worst = 0
    try:
        with progress("Revoking", len(found)) as step:
            for token in found:
                try:
                    registry.revoke(str(token.id), why=reason)
                except TokctlError as error:
                    app.tell(f"API token {token.id} '{token.name}' was not revoked: {error}")
                    worst = max(worst, error.exit_code)
                    done.append(Revocation(token=token, revoked=False, error=error.message))
                else:
                    gone += 1
                    place = remove_kept(registry.origin, str(token.id))
                    forget(registry.origin, str(token.id))
                    done.append(Revocation(token=token, revoked=True, removed_from=place))
                step(1)
    except KeyboardInterrupt:
        app.tell(f"Revoked {gone:,} of {count(len(found), 'API token')} before the interruption.")
        raise
    return done, worst
