"""``tokctl api-tokens exec``."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_permission
from tokctl.config.secret_variables import without_secrets
from tokctl.config.settings import API_KEY
from tokctl.errors import UsageError
from tokctl.model.api_tokens import MAX_NAME_LENGTH, READ_ONLY
from tokctl.services.api_tokens.execution import check_program, run_with_api_token
from tokctl.services.api_tokens.lookup import check_text

DEFAULT_TTL = "15m"


def exec_(
    app: App,
    program: Annotated[
        list[str],
        typer.Argument(
            metavar="-- PROGRAM [ARGUMENT]...",
            click_type=opt.FILE_NAME,
            help="Program to run, with its arguments.",
            show_default=False,
        ),
    ],
    ttl: Annotated[
        str, typer.Option(metavar="DURATION", help="Lifetime of the token, even if the program runs longer.")
    ] = DEFAULT_TTL,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help=ropt.NEW_SCOPE_HELP, show_default=False, autocompletion=complete_permission),
    ] = None,
    type_: ropt.NewType = READ_ONLY,
    env: Annotated[str, typer.Option(metavar="NAME", help="Environment variable for the secret.")] = API_KEY,
    pass_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Variable with your own credential or pepper that the program inherits, too (repeatable).",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the token (default: exec-PROGRAM-…).", show_default=False),
    ] = None,
) -> int:
    """Run a program with an API token that is valid only while the program runs.

    The API token is created for this run, passed in an environment variable, and revoked when the program ends. The
    program does not inherit the variables of your own credentials and of the pepper. The exit code is that of the
    program, or 126 or 127 if it cannot be run.
    """
    from tokctl.api_tokens.custody.ledger import generate_key
    from tokctl.api_tokens.registries.protocol import ApiTokenSpec
    from tokctl.cli.api_tokens.secret_output import open_custody

    if not env.isidentifier() or not env.isascii():
        raise UsageError(f"invalid --env '{env}': not the name of a variable.", f"Give a name such as {API_KEY}.")
    scopes, kind = ropt.parse_scopes(scope), ropt.check_type(type_)
    lasts = ropt.parse_lifetime(ttl, "--ttl", app.now)
    called = check_text(name or f"exec-{PurePath(program[0]).name}-{generate_key()[:6]}", "the name", MAX_NAME_LENGTH)
    if not lasts:
        raise UsageError("--ttl must be greater than 0.", "Give a duration such as 15m.")
    problem = check_program(program[0])
    if problem is not None:
        app.warn(f"error: {problem.message}. Nothing was created.")
        return problem.exit_code
    registry = app.open_registry(write=True)
    spec = ApiTokenSpec(
        name=called,
        type=registry.check_type(kind),
        description=f"For one run of {os.path.basename(program[0])}.",  # noqa: PTH119 - a word of the line
        expires_at=app.clock() + lasts,
        scopes=ropt.choose_scopes(registry, scopes),
    )
    environ = without_secrets(os.environ, keep=pass_env or ())
    return run_with_api_token(open_custody(app, registry), spec, program, environ, env, app.warn)


app = command(
    exec_,
    shared_options=(*opt.STORE, *opt.SERVER),
    examples=(
        "tokctl api-tokens exec -- ./nightly-report",
        "tokctl api-tokens exec --ttl 2h --scope process,token --env API_KEY -- make deploy",
    ),
)
