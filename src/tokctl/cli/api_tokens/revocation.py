"""Helpers of the commands that revoke API tokens: confirmation, and progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer
from msgspec.structs import replace

from tokctl.cli.app import App
from tokctl.cli.progress import progress
from tokctl.cli.prompts import choose, confirm
from tokctl.model.api_tokens import ApiToken
from tokctl.render.text import count
from tokctl.render.views.api_tokens import api_token_listing
from tokctl.services.api_tokens.revocation import RevocationResult, revoke_api_tokens
from tokctl.services.api_tokens.succession import Successions

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry


def choose_namesakes(app: App, registry: Registry, found: Sequence[ApiToken]) -> list[ApiToken]:
    """List API tokens that have the same name, and ask which to revoke. Raises typer.Exit: none."""
    _list_on_stderr(app, found, Successions(registry))
    chosen = choose(f"Which of the API tokens named '{found[0].name}'?", [str(token.id) for token in found])
    if not chosen:
        app.notify("Nothing was revoked.")
        raise typer.Exit(1)
    return [token for token in found if str(token.id) in chosen]


def _list_on_stderr(app: App, found: Iterable[ApiToken], successions: Successions) -> None:
    from tokctl.render.formats.table import emit

    out = replace(app.out, stream=sys.stderr, tty=sys.stderr.isatty(), format="table", columns=None)
    emit(api_token_listing(found, app.now, successions=successions), out)
    sys.stderr.write("\n")


def confirm_revocation(app: App, registry: Registry, found: Iterable[ApiToken], question: str) -> bool:
    """List the API tokens to revoke, and ask for confirmation."""
    _list_on_stderr(app, found, Successions(registry))
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
