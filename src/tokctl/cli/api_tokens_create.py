"""``tokctl api-tokens create``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.access.model import LONGEST_NAME, READ_ONLY
from tokctl.access.scopes import DEFAULT_SCOPES, check_scopes
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import words
from tokctl.cli.registry_options import check_text, check_type, parse_expiry
from tokctl.errors import UsageError
from tokctl.render import check_output

LASTS = "90d"


def create(
    app: App,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: who uses it.", show_default=False)],
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.", show_default=False)] = None,
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="read-only, or full-access to change things, too.")
    ] = READ_ONLY,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERMISSION",
            help="What it allows, such as process or token; may be repeated. Unless told, process.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="WHEN", help="A span such as 90d, a date, or never.")] = LASTS,
    save: opt.Save = None,
    show_secret: opt.ShowSecret = False,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Create it even if there is one of that name.")
    ] = False,
) -> None:
    """Create an API token, and put its secret where it is safe: into the keyring, unless told otherwise.

    Nothing is created before that place has been tried. The secret is not shown, and exists nowhere else: the store or
    server keeps a digest of it. Should the place fail after all, the secret goes to the terminal or into a file of its
    own, and the exit code is 8.
    """
    from tokctl.cli.keeping import custody_of, destination, teller
    from tokctl.registries.base import Wanted

    name, description = check_text(name, "NAME", LONGEST_NAME), description and check_text(description, "--description")
    if not name:
        raise UsageError("the API token has no name.", "Give one that says who uses it.")
    kind, scopes, until = check_type(type_), check_scopes(words(scope, "--scope")), parse_expiry(expires, app.now)
    registry = app.open_registry(write=True)
    place = destination(app, registry, save, show_secret=show_secret)
    check_output(app.out)
    wanted = Wanted(name=name, type=kind, description=description, expires_at=until,
                    scopes=scopes or (DEFAULT_SCOPES if registry.abilities().scopes else None))  # fmt: skip
    custody_of(app, registry).create(wanted, place, unique=not allow_duplicate, told=teller(app, place))


app = command(
    create,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens create grafana",
        "tokctl api-tokens create ci --scope process,token --expires 30d --save env-file:.env",
        "tokctl api-tokens create deploy --save command:'gh secret set TOKCTL_API_KEY'",
        "tokctl api-tokens create ci --show-secret > secret",
    ),
)
