"""``tokctl api-tokens revoke``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.api_tokens.revocation import choose_namesakes, confirm_revocation, revoke_all
from tokctl.cli.app import App, command
from tokctl.cli.prompts import ask_secret, is_interactive
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.api_tokens import REVOKED, UNKNOWN, ApiToken
from tokctl.render import validate_query
from tokctl.render.result import Listing, select_columns
from tokctl.render.views.api_tokens import revocation_listing
from tokctl.services.api_tokens.ledger_report import format_stale, format_uncertain
from tokctl.services.api_tokens.lookup import AmbiguousNameError, ApiTokenFilter, check_text, find_api_tokens
from tokctl.services.api_tokens.revocation import RevocationResult

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry, VerificationResult


def revoke(
    app: App,
    tokens: ropt.TokenArguments = None,
    expired: ropt.Expired = False,
    expiring: ropt.Expiring = None,
    unused: ropt.Unused = None,
    type_: ropt.Type = None,
    scope: ropt.Scopes = None,
    created_by: ropt.CreatedBy = None,
    name: ropt.Name = None,
    secret_stdin: Annotated[
        bool,
        typer.Option("--secret-stdin", help="Revoke the token with this secret, typed or on stdin."),
    ] = False,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans", help="Revoke tokens created on this machine whose secret was lost, for example in a crash."
        ),
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, for the audit log.", show_default=False)] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be revoked, without revoking it.")
    ] = False,
    yes: opt.Yes = False,
) -> Listing:
    """Revoke API tokens. Servers reject their secrets from then on. This cannot be undone.

    Select API tokens by id or name, by a filter, or by the secret. They are listed, and you are asked for confirmation.
    If several have a name, as after a rotation, you are asked which; with --yes, use an id.
    Their secrets are also removed from the keyring. If a token cannot be revoked, the others are still revoked.
    """
    where = ropt.api_token_filter(
        expired=expired, expiring=expiring, unused=unused, type_=type_, scope=scope, created_by=created_by, name=name
    )
    _check_selection(tokens or [], where, secret=secret_stdin, orphans=orphans)
    reason = check_text(reason, "--reason")
    if not (yes or dry_run or is_interactive()):
        raise UsageError(
            "cannot ask for confirmation: there is no terminal. Nothing was revoked.",
            "Use --yes to revoke without confirmation, or --dry-run to see what would be revoked.",
        )
    validate_query(app.out)
    select_columns(revocation_listing([], app.now, dry_run=dry_run), app.out)  # check output options first
    registry = app.open_registry() if dry_run else ropt.open_for_update(app)
    if secret_stdin:
        verdict = registry.verify(ask_secret("Secret to revoke", stdin=not sys.stdin.isatty()))
        if verdict.state == REVOKED:
            whose = f" It is API token {verdict.token.id} '{verdict.token.name}'." if verdict.token else ""
            said = f"The API token with this secret is revoked already.{whose}"
            return revocation_listing([], app.now, dry_run=dry_run, empty=said)
        found, code = [_require_token(registry, verdict)], 0
    elif orphans:
        found, code = _find_orphans(app, registry), 0
    elif tokens:
        found, code = _find_tokens(app, registry, tokens, can_ask=not yes and is_interactive(), dry_run=dry_run)
    else:
        found, code = [token for token in registry.list() if where.matches(token, app.now)], 0
    if dry_run or not found:
        done = [RevocationResult(token=token, revoked=False) for token in found]
        return revocation_listing(done, app.now, dry_run=dry_run, exit_code=code)
    if not yes and not confirm_revocation(app, registry, found, _format_question(registry, found)):
        raise typer.Exit(1)
    done, worst = revoke_all(app, registry, found, reason)
    return revocation_listing(done, app.now, dry_run=False, exit_code=max(code, worst))


def _check_selection(tokens: Sequence[str], where: ApiTokenFilter, *, secret: bool, orphans: bool) -> None:
    """Check that the API tokens are named in exactly one way. Raises UsageError."""
    ways = [bool(tokens), not where.is_empty, secret, orphans]
    if sum(ways) == 1:
        return
    if not any(ways):
        raise UsageError("no API token selected.", "Give ids or names, a filter such as --expired, or --secret-stdin.")
    raise UsageError("TOKEN, filters, --secret-stdin and --orphans cannot be used together.", "Use only one of them.")


def _find_tokens(
    app: App, registry: Registry, names: Sequence[str], *, can_ask: bool, dry_run: bool
) -> tuple[list[ApiToken], int]:
    """Return the API tokens with these ids or names, each once, and an exit code.

    Missing ones are reported, or raise NotFoundError if there is only one name. Of several with one name the user
    chooses; without a terminal, and with ``--yes``, that is an error, as to guess would revoke the wrong one.
    """
    found: dict[str, ApiToken] = {}
    code = 0
    for name in names:
        try:
            named = find_api_tokens(registry, name)
            if len(named) > 1 and not dry_run:
                if not can_ask:
                    raise AmbiguousNameError(name, named, registry)
                named = choose_namesakes(app, registry, named)
        except NotFoundError as error:
            if len(names) == 1:
                raise
            app.warn(str(error))
            code = max(code, error.exit_code)
        else:
            found |= {str(token.id): token for token in named}
    return [*found.values()], code


def _find_orphans(app: App, registry: Registry) -> list[ApiToken]:
    """Return the API tokens in the ledger whose secret is lost, and warn about entries that are unclear."""
    from tokctl.api_tokens.custody.ledger import Ledger
    from tokctl.api_tokens.custody.reconciliation import reconcile

    found = reconcile(registry, Ledger(), app.now)
    for origin in sorted({entry.origin for entry in found.elsewhere}):
        app.notify(f"There are unfinished operations at {origin}, too. Run the command with --server or --store.")
    if found.uncertain:
        app.warn(f"{format_uncertain(found.uncertain)} Revoke it by id.")
    if found.stale:
        app.warn(f"{format_stale(found.stale, registry)} They are ignored.")
    return found.orphans


def _require_token(registry: Registry, verdict: VerificationResult) -> ApiToken:
    """Return the API token of a secret. Raises NotFoundError: there is none, or the registry does not tell which."""
    if verdict.state == UNKNOWN:
        raise NotFoundError(
            f"{registry.where} has no API token with this secret.", "Check the secret, and the server or store."
        )
    if verdict.token is None:
        raise NotFoundError(
            f"the secret is {verdict.state}, but {registry.where} does not report its API token.",
            "Revoke the API token by id. 'tokctl api-tokens list' shows all.",
        )
    return verdict.token


def _format_question(registry: Registry, found: Sequence[ApiToken]) -> str:
    what = f"this API token of {registry.where}" if len(found) == 1 else f"these {len(found):,} of {registry.where}"
    return f"Revoke {what}?"


app = command(
    revoke,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens revoke 7 grafana",
        "tokctl api-tokens revoke --unused 180d --dry-run",
        "tokctl api-tokens revoke --expired --yes --reason 'spring clean'",
        "pbpaste | tokctl api-tokens revoke --secret-stdin --yes --reason leaked",
    ),
)
