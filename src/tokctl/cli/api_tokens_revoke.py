"""``tokctl api-tokens revoke``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.access.filtering import ApiTokenFilter
from tokctl.access.model import REVOKED, UNKNOWN, ApiToken
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.asking import ask_secret
from tokctl.cli.revoking import agreed, revoke_all
from tokctl.errors import NotFoundError, UsageError
from tokctl.render import check_output
from tokctl.render.result import Listing, pick_columns
from tokctl.render.views.api_tokens import Revocation, revocation_listing

if TYPE_CHECKING:
    from tokctl.registries.base import Registry, Verdict


def revoke(
    app: App,
    tokens: ropt.Keys = None,
    expired: ropt.Expired = False,
    expiring: ropt.Expiring = None,
    unused: ropt.Unused = None,
    type_: ropt.Type = None,
    scope: ropt.Scopes = None,
    created_by: ropt.CreatedBy = None,
    name: ropt.Name = None,
    secret_stdin: Annotated[
        bool,
        typer.Option("--secret-stdin", help="The one whose secret is typed, or stands on stdin: a leaked one."),
    ] = False,
    orphans: Annotated[
        bool,
        typer.Option("--orphans", help="Those created from here whose secret nobody has, as after a crash."),
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the audit keeps it.", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be revoked, and revoke nothing.")] = False,
    yes: opt.Yes = False,
) -> Listing:
    """Revoke API tokens: from that moment on no server accepts their secrets. There is no way back.

    Names them by id or name, by a filter, or by the secret. Shows them and asks before it does anything. Their
    secrets are taken out of the keyring here, too. One that cannot be revoked does not keep back the others.
    """
    where = ropt.api_token_filter(
        expired=expired, expiring=expiring, unused=unused, type_=type_, scope=scope, created_by=created_by, name=name
    )
    _check_wanted(tokens or [], where, secret=secret_stdin, orphans=orphans)
    reason = ropt.check_text(reason, "--reason")
    if not (yes or dry_run or ropt.can_ask()):
        raise UsageError("there is no terminal to ask at, and nothing was revoked.",
                         "Say --yes to do it without asking, or --dry-run to see what would go.")  # fmt: skip
    check_output(app.out)
    pick_columns(revocation_listing([], app.now, dry_run=dry_run), app.out)  # what is wrong with the output, first
    registry = app.open_registry() if dry_run else ropt.open_to_change(app)
    if secret_stdin:
        verdict = registry.verify(ask_secret("Secret to revoke", stdin=not sys.stdin.isatty()))
        if verdict.state == REVOKED:
            whose = f" It is that of API token {verdict.token.id} '{verdict.token.name}'." if verdict.token else ""
            said = f"That secret is revoked already: there is nothing to do.{whose}"
            return revocation_listing([], app.now, dry_run=dry_run, empty=said)
        found, code = [_of_secret(registry, verdict)], 0
    elif orphans:
        found, code = _orphans(app, registry), 0
    elif tokens:
        found, code = _named(app, registry, tokens)
    else:
        found, code = [*ropt.matching(registry.list(), where, app.now)], 0
    if dry_run or not found:
        done = [Revocation(token=token, revoked=False) for token in found]
        return revocation_listing(done, app.now, dry_run=dry_run, exit_code=code)
    if not yes and not agreed(app, found, _question(registry, found)):
        raise typer.Exit(1)
    done, worst = revoke_all(app, registry, found, reason)
    return revocation_listing(done, app.now, dry_run=False, exit_code=max(code, worst))


def _check_wanted(tokens: Sequence[str], where: ApiTokenFilter, *, secret: bool, orphans: bool) -> None:
    """See that the API tokens are named in one way. Raises UsageError."""
    ways = [bool(tokens), not where.asks_for_all, secret, orphans]
    if sum(ways) == 1:
        return
    if not any(ways):
        raise UsageError("no API token is named.", "Give ids or names, a filter such as --expired, or --secret-stdin.")
    raise UsageError(
        "ids or names, filters, --secret-stdin and --orphans name API tokens in different ways.", "Give one of them."
    )


def _named(app: App, registry: Registry, names: Sequence[str]) -> tuple[list[ApiToken], int]:
    """Those of the ids and names, each once, and an exit code: one that is not there is told, the others go on.

    Raises:
        NotFoundError: the only one is not there.
    """
    found: dict[str, ApiToken] = {}
    code = 0
    for name in names:
        try:
            token = ropt.find(registry, name)
        except NotFoundError as error:
            if len(names) == 1:
                raise
            app.tell(str(error))
            code = max(code, error.exit_code)
        else:
            found[str(token.id)] = token
    return [*found.values()], code


def _orphans(app: App, registry: Registry) -> list[ApiToken]:
    """Those that the ledger leads to and whose secret is nowhere."""
    from tokctl.custody.ledger import Ledger
    from tokctl.custody.orphans import settle

    settled = settle(registry, Ledger(), app.now)
    for origin in sorted({entry.origin for entry in settled.elsewhere}):
        app.tell(f"There is unfinished work at {origin}, too: name it with --server or --store.")
    return [*{str(one.token.id): one.token for one in settled.orphans}.values()]


def _of_secret(registry: Registry, verdict: Verdict) -> ApiToken:
    """That of a secret.

    Raises:
        NotFoundError: it is nobody's, or the registry does not tell whose it is.
    """
    if verdict.state == UNKNOWN:
        raise NotFoundError(f"{registry.where} knows no API token with that secret: there is nothing to revoke.")
    if verdict.token is None:
        raise NotFoundError(f"that secret is {verdict.state}, but {registry.where} does not tell whose it is.",
                            "Revoke its API token by id; 'tokctl api-tokens list' shows them.")  # fmt: skip
    return verdict.token


def _question(registry: Registry, found: Sequence[ApiToken]) -> str:
    what = f"this API token of {registry.where}" if len(found) == 1 else f"these {len(found):,} of {registry.where}"
    return f"Revoke {what}?"


app = command(
    revoke,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens revoke 7 grafana",
        "tokctl api-tokens revoke --unused 180d --dry-run",
        "tokctl api-tokens revoke --expired --yes --reason 'spring clean'",
        "pbpaste | tokctl api-tokens revoke --secret-stdin --yes --reason leaked",
    ),
)
