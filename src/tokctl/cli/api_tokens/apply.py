"""``tokctl api-tokens apply``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.api_tokens.vaults.protocol import replace_nothing
from tokctl.cli import options as opt
from tokctl.cli.api_tokens.revocation import confirm_revocation
from tokctl.cli.app import App, command
from tokctl.cli.prompts import is_interactive
from tokctl.errors import InputError, UsageError
from tokctl.input_files import input_name, read_chunks
from tokctl.render import emit, validate_query
from tokctl.render.result import Listing
from tokctl.render.text import count

if TYPE_CHECKING:
    from tokctl.services.api_tokens.applying import DeclarationApplier, Step

MAX_BYTES = 4 << 20


def apply(
    app: App,
    file: Annotated[str, opt.path("FILE", "YAML file that declares the API tokens. - reads stdin.", "-f --filename")],
    prune: Annotated[bool, typer.Option("--prune", help="Revoke API tokens that are not in the file.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what differs, without changing it. Exit code 1 if anything does."),
    ] = False,
    yes: opt.Yes = False,
) -> Listing:
    """Create, update and rotate API tokens until they are as a file declares them.

    The secrets of new and rotated API tokens go where 'save' in the file says; they are not shown. A second run changes
    nothing. An interrupted run loses no secret: run it again. API tokens that are not in the file are shown, and with
    --prune they are revoked; the one that this command uses as credential never is.
    """
    from tokctl.api_tokens.custody.sinks import VaultSink
    from tokctl.cli.api_tokens.secret_output import open_rotation
    from tokctl.render.views.applied_api_tokens import applied_listing
    from tokctl.services.api_tokens.applying import CHANGING, REVOKE, DeclarationApplier
    from tokctl.services.api_tokens.declarations import parse_declarations

    if prune and not (yes or dry_run or is_interactive()):
        raise UsageError(
            "cannot ask for confirmation: there is no terminal. Nothing was changed.",
            "Use --yes to revoke without confirmation, or --dry-run to see what would be revoked.",
        )
    validate_query(app.out)
    source = input_name(file)
    declarations = parse_declarations(_read(file, source), source, app.now)
    registry = app.open_registry(write=not dry_run, or_empty=dry_run)
    rotation = open_rotation(app, registry, replace=False)
    open_sink = partial(VaultSink, origin=registry.origin, may_replace=replace_nothing)
    applier = DeclarationApplier(rotation, source, open_sink)
    steps = applier.plan(declarations, app.now, prune=prune)
    if dry_run:
        return applied_listing(steps, dry_run=True, exit_code=int(any(step.action in CHANGING for step in steps)))
    revoked = [step.token for step in steps if step.action == REVOKE and step.token is not None]
    if revoked and not yes:
        question = f"Revoke {count(len(revoked), 'API token')} of {registry.where}, and apply the rest of the file?"
        if not confirm_revocation(app, registry, revoked, question):
            raise typer.Exit(1)
    return _run(app, applier, steps)


def _run(app: App, applier: DeclarationApplier, steps: list[Step]) -> Listing:
    """Perform the steps; after an interruption, what was done until then is shown."""
    from tokctl.render.views.applied_api_tokens import applied_listing

    done: dict[int, Step] = {}
    try:
        applier.run(steps, done.__setitem__)
    except BaseException:
        emit(applied_listing([*done.values()], dry_run=False), app.out)
        raise
    failed = [step.error for step in done.values() if step.error is not None]
    code = max((error.exit_code for error in failed), default=0)
    for error in failed:
        app.warn(str(error))
    return applied_listing([*done.values()], dry_run=False, exit_code=code)


def _read(file: str, source: str) -> bytes:
    data = b""
    for chunk in read_chunks(file):
        data += chunk
        if len(data) > MAX_BYTES:
            raise InputError(f"{source} is too large.", f"The maximum is {MAX_BYTES:,} bytes.")
    return data


app = command(
    apply,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens apply -f tokens.yaml --dry-run",
        "tokctl api-tokens apply -f tokens.yaml --server https://cms.example",
        "tokctl api-tokens apply -f tokens.yaml --prune --yes",
    ),
)
