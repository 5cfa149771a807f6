"""``tokctl api-tokens exec``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokctl.access.model import LONGEST_NAME, READ_ONLY
from tokctl.access.scopes import DEFAULT_SCOPES, check_scopes
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import words
from tokctl.cli.registry_options import check_text, check_type, parse_lasting
from tokctl.config.settings import API_KEY
from tokctl.errors import UsageError

if TYPE_CHECKING:
    from tokctl.access.model import ApiToken
    from tokctl.custody.signals import Held

TTL = "15m"
KEPT_BACK = (API_KEY, "TOKCTL_PEPPER")
"""Variables with secrets of ours, which are not the program's."""
NOT_FOUND = 127
CANNOT_RUN = 126
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_LEFT = (signal.SIGINT, signal.SIGQUIT)


def exec_(
    app: App,
    program: Annotated[
        list[str], typer.Argument(metavar="-- PROGRAM [ARGUMENT]...", help="What to run.", show_default=False)
    ],
    ttl: Annotated[str, typer.Option(metavar="SPAN", help="When it expires, whatever becomes of the program.")] = TTL,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERMISSION", help="What it allows; may be repeated. Unless told, process.", show_default=False
        ),
    ] = None,
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="read-only, or full-access to change things, too.")
    ] = READ_ONLY,
    env: Annotated[str, typer.Option(metavar="NAME", help="The variable that it is handed over in.")] = API_KEY,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it in the list.", show_default=False)
    ] = None,
) -> int:
    """Run a program with an API token that lives no longer than the program does.

    The API token is created for it, handed over in its environment, and revoked when it ends, in whatever way. The exit
    code is the program's; 126 and 127 say that it could not be run.
    """
    from tokctl.cli.keeping import custody_of
    from tokctl.custody.ledger import new_key
    from tokctl.custody.lending import lend
    from tokctl.registries.base import Wanted

    if not env.isidentifier() or not env.isascii():
        raise UsageError(f"--env {env} is no name of a variable.", f"Give one such as {API_KEY}.")
    scopes, kind, lasts = check_scopes(words(scope, "--scope")), check_type(type_), parse_lasting(ttl, "--ttl", app.now)
    called = check_text(name or f"exec-{os.path.basename(program[0])}-{new_key()[:6]}", "the name", LONGEST_NAME)  # noqa: PTH119
    if not lasts:
        raise UsageError(f"--ttl {ttl} leaves no time.", "Give a span such as 15m.")
    if shutil.which(program[0]) is None:
        is_there = os.path.lexists(program[0]) and os.sep in program[0]
        what = f"{program[0]} cannot be run" if is_there else f"there is no program {program[0]}"
        app.tell(f"tokctl: {what}. Nothing was created.")
        return CANNOT_RUN if is_there else NOT_FOUND
    registry = app.open_registry(write=True)
    wanted = Wanted(
        name=called,
        type=kind,
        description=f"For one run of {os.path.basename(program[0])}.",  # noqa: PTH119 - a word of the line
        expires_at=app.clock() + lasts,
        scopes=scopes or (DEFAULT_SCOPES if registry.abilities().scopes else None),
    )

    def run(_token: ApiToken, secret: str, held: Held) -> int:
        ours = {name: value for name, value in os.environ.items() if name not in KEPT_BACK}
        return run_program(app, program, ours | {env: secret}, held)

    return lend(custody_of(app, registry), wanted, run)


def run_program(app: App, program: Sequence[str], environ: Mapping[str, str], held: Held) -> int:
    """Run a program and return its exit code, 128 and the signal's number if one ended it.

    TERM and HUP are passed on to it. INT and QUIT are left to it: the terminal sends them to both.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: Any) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    before |= {number: signal.signal(number, lambda *_: None) for number in _LEFT}
    try:
        try:
            process = subprocess.Popen(list(program), env=dict(environ))  # noqa: S603 - the user's own
        except OSError as error:
            app.tell(f"tokctl: {program[0]} cannot be run: {error.strerror}.")
            return CANNOT_RUN
        if held.first is not None:  # it came before our handlers were in
            early.append(held.first)
            held.first = None
        for number in early:
            process.send_signal(number)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


app = command(
    exec_,
    takes=(*opt.STORE, *opt.SERVER),
    examples=(
        "tokctl api-tokens exec -- ./nightly-report",
        "tokctl api-tokens exec --ttl 2h --scope process,token --env API_KEY -- make deploy",
    ),
)
