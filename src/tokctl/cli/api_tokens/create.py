"""``tokctl api-tokens create``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_permission
from tokctl.errors import UsageError
from tokctl.model.api_tokens import MAX_NAME_LENGTH, READ_ONLY
from tokctl.render import validate_query
from tokctl.services.api_tokens.lookup import check_text

DEFAULT_LIFETIME = "90d"


def create(
    app: App,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token.", show_default=False)],
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Purpose of the token.", show_default=False)
    ] = None,
    type_: ropt.NewType = READ_ONLY,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help=ropt.NEW_SCOPE_HELP, show_default=False, autocompletion=complete_permission),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            show_default=False,
            help="Expiry: a duration such as 90d, a date, or never (default: 90d, or less if the server allows less).",
        ),
    ] = None,
    allowed_cidr: ropt.NewNetworks = None,
    save: opt.Save = None,
    replace: ropt.Replace = False,
    show_secret: opt.ShowSecret = False,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Create the token even if the name is in use.")
    ] = False,
) -> None:
    """Create an API token and save its secret, in the keyring by default.

    The target of the secret is tested before the token is created. The secret is not shown, and the store or server
    keeps only a digest of it. If saving fails, the secret is printed on the terminal or written to a new file, and the
    exit code is 8.
    """
    from tokctl.api_tokens.registries.protocol import ApiTokenSpec, check_fields
    from tokctl.api_tokens.vaults.protocol import replace_anything, replace_nothing
    from tokctl.cli.api_tokens.secret_output import choose_sink, create_reporter, open_custody

    name = check_text(name, "NAME", MAX_NAME_LENGTH)
    description = description and check_text(description, "--description")
    if not name:
        raise UsageError("NAME is empty.", "Give a name that says who uses the API token.")
    kind, scopes = ropt.check_type(type_), ropt.parse_scopes(scope)
    networks = ropt.parse_networks(allowed_cidr or [ropt.ANY])
    until = ropt.parse_expiry(expires or DEFAULT_LIFETIME, app.now)
    registry = app.open_registry(write=True)
    check_fields(registry, ("allowed_cidrs",) if networks else ())
    may_replace = replace_anything if replace else replace_nothing
    place = choose_sink(app, registry, save, show_secret=show_secret, may_replace=may_replace)
    validate_query(app.out)
    spec = ApiTokenSpec(
        name=name,
        type=registry.check_type(kind),
        description=description,
        expires_at=until,
        may_expire_earlier=expires is None,
        allowed_cidrs=networks,
        scopes=ropt.choose_scopes(registry, scopes),
    )
    open_custody(app, registry).create(spec, place, unique=not allow_duplicate, report=create_reporter(app, place))


app = command(
    create,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens create grafana",
        "tokctl api-tokens create ci --scope process,token --expires 30d --save env-file:.env",
        "tokctl api-tokens create deploy --save command:'gh secret set TOKCTL_API_KEY'",
        "tokctl api-tokens create ci --allowed-cidr 10.0.0.0/8 --allowed-cidr 2001:db8::/32",
        "tokctl api-tokens create ci --show-secret > secret",
    ),
)
