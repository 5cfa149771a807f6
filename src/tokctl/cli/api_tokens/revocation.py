"""Helpers of the commands that revoke API tokens: confirmation, and progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tokctl.cli.app import App
from tokctl.cli.progress import progress
from tokctl.cli.prompts import confirm
from tokctl.model.api_tokens import ApiToken
from tokctl.render.text import count
from tokctl.render.views.api_tokens import api_token_listing
from tokctl.services.api_tokens.revocation import RevocationResult, revoke_api_tokens

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry


def confirm_revocation(app: App, found: Iterable[ApiToken], question: str) -> bool:
    """List the API tokens to revoke, and ask for confirmation."""
    from tokctl.render.formats.table import emit

    out = replace(app.out, stream=sys.stderr, tty=sys.stderr.isatty(), format="table", columns=None)
    emit(api_token_listing(found, app.now), out)
    sys.stderr.write("\n")
    if confirm(question):
        return True
    app.notify("Nothing was revoked.")
    return False


def revoke_all(
    app: App, registry: Registry, found: Sequence[ApiToken], reason: str
) -> tuple[list[RevocationResult], int]:
    """Revoke API tokens with a progress bar; returns the results, and the exit code of the worst."""
    gone = worst = 0
    try:
        with progress("Revoking", len(found)) as step:

            def count_revoked(_token: ApiToken) -> None:
                nonlocal gone
                gone += 1

            def report(result: RevocationResult) -> None:
                nonlocal worst
                token, error = result.token, result.error
                if error is not None:
                    app.warn(f"API token {token.id} '{token.name}' was not revoked: {error}")
                    worst = max(worst, error.exit_code)
                step(1)

            results = revoke_api_tokens(registry, found, reason, on_revoked=count_revoked, on_result=report)
    except KeyboardInterrupt:
        app.warn(f"Revoked {gone:,} of {count(len(found), 'API token')} before the interruption.")
        raise
    return results, worst
