"""``tokctl api-tokens scan``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BufferedIOBase
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tokctl.api_tokens.detection import CERTAIN
from tokctl.api_tokens.scanner import SecretHit
from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.api_tokens.revocation import confirm_revocation, revoke_all
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.cli.prompts import is_interactive
from tokctl.errors import InputError, UnreachableError, UsageError
from tokctl.render.result import Listing, select_columns
from tokctl.render.text import count
from tokctl.render.views.scan import leak_listing
from tokctl.services.api_tokens.scan import (
    Leak,
    ScanTotals,
    list_live_tokens,
    mark_revoked,
    search_secrets,
    verify_hits,
)
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry

LIVE, ANY = "live", "any"
FAIL_ON_CHOICES = (LIVE, CERTAIN, ANY)
MAX_REPORTED_PATHS = 5
"""Number of unreadable files that are reported one by one."""
INTERRUPTED = 130
_REVOKE_REASON = "leaked: found by a scan"


def scan(
    app: App,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            click_type=opt.FILE_NAME,
            help="Files and directories. - reads stdin.",
            show_default=False,
        ),
    ],
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Scan the history of git repositories.")
    ] = True,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not look up the secrets in the store or on the server.")
    ] = False,
    fail_on: Annotated[
        str,
        typer.Option(
            help="Exit with code 1 for these secrets: live, certain or any.",
            metavar="WHICH",
            autocompletion=lambda incomplete: [name for name in FAIL_ON_CHOICES if name.startswith(incomplete.lower())],
        ),
    ] = LIVE,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke the API tokens of live secrets.")] = False,
    yes: opt.Yes = False,
) -> Listing:
    """Find leaked secrets of API tokens in files and in the history of git repositories.

    Text with the prefix xvc_ and a correct checksum is certainly a secret of tokctl; without the checksum it can belong
    to another server. Each secret is looked up in the store or on the server (which receives it) to show the id, name
    and state of its API token. Without a lookup, certain secrets count as live. Secrets are not shown.

    The history of a repository is scanned if its top directory is in a path: all branches, tags, stashes and
    unreachable objects. If several versions of a file contain the same secret, the oldest is shown. Links are not
    followed. Decoded are base64, percent-encoding, the escapes of JSON strings and UTF-16; opened are gzip, bzip2, xz,
    tar and zip files (also jar, whl, docx).

    What is not searched is reported with the reason, and the exit code is 7 if no secret is found: files that cannot be
    read, other and encrypted archives, shallow and partial clones, the history if only a subdirectory is scanned.
    """
    fails = fail_on.strip().lower()
    if fails not in FAIL_ON_CHOICES:
        raise UsageError(
            f"invalid --fail-on '{fail_on}'{suggest(fails, FAIL_ON_CHOICES)}.",
            f"Valid: {', '.join(FAIL_ON_CHOICES)}.",
        )
    if revoke and offline:
        raise UsageError("--revoke and --offline cannot be used together.", "Use only one of them.")
    if revoke and not (yes or is_interactive()):
        raise UsageError(
            "cannot ask for confirmation: there is no terminal.", "Use --yes to revoke without confirmation."
        )
    nothing = ScanTotals(files=0, objects=0, repositories=0, octets=0, unread=(), complete=True)
    select_columns(leak_listing([], nothing, exit_code=0), app.out)  # reports invalid output options before the scan
    registry, unreachable = None, None
    try:
        registry = None if offline else _open_registry(app, revoke=revoke)
    except UnreachableError as failure:  # the search is worth a report, all the same
        unreachable = failure
    hits, totals = _search(app, paths, history=history)
    leaks, error = verify_hits(registry, hits)
    error = error or unreachable
    code = 0
    if error is not None:
        app.warn(f"Cannot look up the secrets: {error}")
        code = error.exit_code
    if revoke and registry is not None:
        leaks, code = _revoke_live(app, registry, leaks, code, yes=yes)
    if totals.unread:
        code = code or InputError.exit_code
    if any(_is_failing(leak, fails) for leak in leaks):
        code = 1
    return leak_listing(leaks, totals, exit_code=code if totals.complete else INTERRUPTED)


def _open_registry(app: App, *, revoke: bool) -> Registry | None:
    """Return the registry to ask about secrets; None if none is named and the default store does not exist."""
    if revoke:
        return ropt.open_for_update(app)
    settings = app.settings
    if settings.place is None and settings.registry_server is None:
        from tokctl.store import store_file

        file = store_file(settings.store_location)
        if file is not None and not file.exists():
            app.notify(f"There is no store at {file} and no server is given. The secrets are not looked up.")
            return None
    return app.open_registry()


def _search(app: App, paths: Iterable[str], *, history: bool) -> tuple[list[SecretHit], ScanTotals]:
    """Search with a progress bar, and report what cannot be read."""
    reported = 0

    def report_unread(path: str, why: str) -> None:
        nonlocal reported
        reported += 1
        if reported <= MAX_REPORTED_PATHS:
            app.warn(f"Skipped {path}: {why.rstrip('.')}.")

    with progress("Searching", None, octets=True) as step:
        stdin = cast("BufferedIOBase", sys.stdin.buffer)
        hits, totals = search_secrets(paths, stdin=stdin, history=history, step=step, on_unread=report_unread)
    if reported > MAX_REPORTED_PATHS:
        app.warn(f"Skipped {count(reported, 'path')} in total.")
    if not totals.complete:
        app.notify("The scan was interrupted. These are the results so far.")
    return hits, totals


def _is_failing(leak: Leak, fails: str) -> bool:
    if fails == ANY:
        return True
    certain = leak.certainty == CERTAIN
    return leak.live or (certain and (fails == CERTAIN or leak.state is None))


def _revoke_live(app: App, registry: Registry, leaks: list[Leak], code: int, *, yes: bool) -> tuple[list[Leak], int]:
    """Revoke the valid API tokens after confirmation; return the leaks and the worst exit code."""
    if nameless := sum(leak.live and leak.token is None for leak in leaks):
        app.notify(
            f"{registry.where} does not report the API tokens of {count(nameless, 'live secret')}. "
            "Revoke them by id. 'tokctl api-tokens list' shows all."
        )
        for leak in {leak.secret: leak for leak in leaks if leak.live and leak.candidates}.values():
            names = " or ".join(f"{one.id} ({one.name})" for one in leak.candidates)
            app.notify(f"{leak.secret} may belong to {names}.")
    live = list_live_tokens(leaks)
    question = f"The secrets of these API tokens are leaked. Revoke them in {registry.where}?"
    if not live or not (yes or confirm_revocation(app, registry, live, question)):
        return leaks, code
    results, worst = revoke_all(app, registry, live, _REVOKE_REASON)
    return mark_revoked(leaks, results), max(code, worst)


app = command(
    scan,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens scan .",
        "tokctl api-tokens scan . --offline --fail-on certain -o sarif > leaks.sarif",
        "git diff --cached | tokctl api-tokens scan -",
        "tokctl api-tokens scan ~/src --revoke",
    ),
)
