"""``tokctl api-tokens scan``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BufferedIOBase
from typing import TYPE_CHECKING, Annotated, cast

import typer
from msgspec.structs import replace

from tokctl.access.finding import CERTAIN
from tokctl.access.secret import mask
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.cli.revoking import agreed, revoke_all
from tokctl.errors import InputError, TokctlError, UsageError
from tokctl.process.query import suggest
from tokctl.render.human import count
from tokctl.render.result import Listing, pick_columns
from tokctl.render.views.scan import Leak, Totals, leak_listing
from tokctl.scanner.base import Hit
from tokctl.scanner.files import Scan

if TYPE_CHECKING:
    from tokctl.registries.base import Registry, Verdict

LIVE, ANY = "live", "any"
FAILING = (LIVE, CERTAIN, ANY)
TOLD = 5
"""Of what cannot be read, so much is told at once."""
INTERRUPTED = 130
_WHY = "leaked: found by a scan"


def complete_failing(incomplete: str) -> list[str]:
    """What lets a scan fail."""
    return [name for name in FAILING if name.startswith(incomplete.lower())]


def scan(
    app: App,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files and directories; '-' is stdin.", show_default=False),
    ],
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Look into the history of git repositories, too.")
    ] = True,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody whose the secrets are.")] = False,
    fail_on: Annotated[
        str,
        typer.Option(
            help="Exit with 1 on such a secret: live, certain or any.",
            metavar="WHICH",
            autocompletion=complete_failing,
        ),
    ] = LIVE,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke those that are live.")] = False,
    yes: opt.Yes = False,
) -> Listing:
    """Look for leaked secrets of API tokens in files, and in all that a git repository has ever held.

    A right checksum makes a secret of ours certain; what else begins with xvc_ may be another server's. The store or
    the server is asked about each (a server is sent it), and so tells its id, its name and whether it is live. One that
    is certain counts as live where nobody could be asked. Secrets are not shown.

    A repository's history is looked through if its top directory lies below a path: all branches, tags and stashes,
    and what none of them leads to. Of a file's versions with the same secret, the first is shown. Links are not
    followed; what is compressed, beside git's own, is not opened.
    """  # fmt: skip
    fails = fail_on.strip().lower()
    if fails not in FAILING:
        raise UsageError(
            f"--fail-on {fail_on} means nothing{suggest(fails, FAILING)}.", f"Valid: {', '.join(FAILING)}."
        )
    if revoke and offline:
        raise UsageError("--revoke has to ask whose the secrets are, and --offline forbids it.", "Leave one out.")
    if revoke and not (yes or ropt.can_ask()):
        raise UsageError("there is no terminal to ask at whether to revoke.", "Say --yes to do it without asking.")
    nothing = Totals(files=0, objects=0, repositories=0, octets=0, unread=(), complete=True)
    pick_columns(leak_listing([], nothing, exit_code=0), app.out)  # what is wrong with the output, first
    registry = None if offline else _open(app, revoke=revoke)
    hits, totals = _searched(app, paths, history=history)
    leaks, code = _asked(app, registry, hits)
    if revoke and registry is not None:
        leaks, code = _revoked(app, registry, leaks, code, yes=yes)
    if totals.unread:
        code = code or InputError.exit_code
    if any(_fails(leak, fails) for leak in leaks):
        code = 1
    return leak_listing(leaks, totals, exit_code=code if totals.complete else INTERRUPTED)


def _open(app: App, *, revoke: bool) -> Registry | None:
    """Whom to ask; nobody where no registry is named and the store that is there unless told is not."""
    if revoke:
        return ropt.open_to_change(app)
    settings = app.settings
    if settings.place is None and settings.registry_server is None:
        from tokctl.store import file_of

        file = file_of(settings.store_location)
        if file is not None and not file.exists():
            app.tell(f"There is no store at {file}, and no server is named: nobody is asked whose the secrets are.")
            return None
    return app.open_registry()


def _searched(app: App, paths: Iterable[str], *, history: bool) -> tuple[list[Hit], Totals]:
    """All that is found; an interruption ends the search, and not the command."""
    hits: list[Hit] = []
    unread: list[tuple[str, str]] = []

    def skip(path: str, why: str) -> None:
        unread.append((path, why))
        if len(unread) <= TOLD:
            app.tell(f"{path} is left out: {why.rstrip('.')}.")

    complete = True
    with progress("Searching", None, octets=True) as step:
        stdin = cast("BufferedIOBase", sys.stdin.buffer)
        search = Scan(stdin=stdin, history=history, progress=step, unread=skip)
        try:
            hits.extend(search.hits(paths))
        except KeyboardInterrupt:
            complete = False
    if len(unread) > TOLD:
        app.tell(f"{count(len(unread), 'path')} could not be searched, those among them.")
    if not complete:
        app.tell("The search was interrupted: this is what it had found.")
    return hits, Totals(
        files=search.files,
        objects=search.objects,
        repositories=search.repositories,
        octets=search.octets,
        unread=unread,
        complete=complete,
    )


def _asked(app: App, registry: Registry | None, hits: Iterable[Hit]) -> tuple[list[Leak], int]:
    """What the registry says of each; an exit code: one that fails is asked no more."""
    said: dict[str, Verdict] = {}
    code = 0
    leaks = []
    for place, found in hits:
        if registry is not None and found.secret not in said:
            try:
                said[found.secret] = registry.verify(found.secret)
            except TokctlError as error:
                app.tell(f"Nobody can be asked whose the secrets are: {error}")
                registry, code = None, error.exit_code
        verdict = said.get(found.secret)
        leaks.append(
            Leak(
                place=place,
                line=found.line,
                column=found.column,
                offset=found.offset,
                length=len(found.secret),
                secret=mask(found.secret),
                form=found.form,
                state=None if verdict is None else verdict.state,
                token=None if verdict is None else verdict.token,
            )
        )
    return leaks, code


def _fails(leak: Leak, fails: str) -> bool:
    if fails == ANY:
        return True
    certain = leak.certainty == CERTAIN
    return leak.live or (certain and (fails == CERTAIN or leak.state is None))


def _revoked(app: App, registry: Registry, leaks: list[Leak], code: int, *, yes: bool) -> tuple[list[Leak], int]:
    """Revoke the live ones; one that cannot be revoked does not keep back the others."""
    if nameless := sum(leak.live and leak.token is None for leak in leaks):
        app.tell(f"{registry.where} does not tell whose {count(nameless, 'live secret is', 'live secrets are')}: "
                 "revoke those yourself, 'tokctl api-tokens list' shows all.")  # fmt: skip
    live = {str(leak.token.id): leak.token for leak in leaks if leak.live and leak.token is not None}
    question = f"Secrets of these are leaked. Revoke them in {registry.where}?"
    if not live or not (yes or agreed(app, live.values(), question)):
        return leaks, code
    done, worst = revoke_all(app, registry, [*live.values()], _WHY)
    gone = {str(one.token.id) for one in done if one.revoked}
    return [
        replace(leak, revoked=True) if leak.live and leak.token is not None and str(leak.token.id) in gone else leak
        for leak in leaks
    ], max(code, worst)


app = command(
    scan,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens scan .",
        "tokctl api-tokens scan . --offline --fail-on certain -o sarif > leaks.sarif",
        "git diff --cached | tokctl api-tokens scan -",
        "tokctl api-tokens scan ~/src --revoke",
    ),
)
