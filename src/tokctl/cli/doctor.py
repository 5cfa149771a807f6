"""``tokctl doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from platform import platform, python_version

from tokctl import __version__
from tokctl.cli import checks
from tokctl.cli import options as opt
from tokctl.cli.app import SET_UP, App, command
from tokctl.cli.checks import Finding
from tokctl.config import Settings, settings_from
from tokctl.errors import TokctlError
from tokctl.render.human import count
from tokctl.render.result import Cell, Column, Listing

_STATES = {
    "ok": ("✓", "+", "green"),
    "note": ("!", "!", "yellow"),
    "problem": ("✗", "x", "bold red"),
}


def doctor(app: App) -> Listing:
    """Look at how tokctl is set up: configuration, store, server, clock, credential, keyring.

    A line for each, with what was found and what to do. Shows no secret, and changes nothing but what is
    remembered of the server's kind. Exit code 1 means that something is wrong; a note is about what works, but
    not as well as it could.
    """
    error: TokctlError | None = None
    try:
        settings = app.settings
    except TokctlError as found:
        error = found
        shown = {name: value for name, value in app.flags.items() if name in {*opt.OUTPUT, *opt.GLOBAL}}
        settings = app.settings = settings_from(shown, {}, configured=False)
    unicode = app.out.unicode
    findings = list(_examine(app, settings, error))

    def state_cell(one: Finding) -> Cell:
        sign, ascii_sign, style = _STATES[one.state]
        return Cell(f"{sign if unicode else ascii_sign} {one.state}", style)

    counts = {state: sum(one.state == state for one in findings) for state in _STATES}
    said = ", ".join(count(n, state) for state, n in counts.items() if n and state != "ok")
    return Listing(
        key="checks",
        items=findings,
        columns=(
            Column(key="check", title="CHECK", value=lambda one: one.check),
            Column(key="state", title="STATE", value=lambda one: one.state, show=state_cell),
            Column(key="found", title="FOUND", value=lambda one: one.found, fold=True, least=24),
            Column(key="advice", title="WHAT TO DO", value=lambda one: one.advice or None, fold=True, least=24),
        ),
        ident=lambda one: one.check,
        document=lambda one: {
            "check": one.check, "state": one.state, "found": one.found, "advice": one.advice or None, **one.facts,
        },
        head={"version": __version__, "python": python_version(), "platform": platform()},
        notes=lambda _: [f"{said[:1].upper()}{said[1:]}." if said else "Everything is in order."],
        exit_code=1 if counts["problem"] else 0,
    )  # fmt: skip


def _examine(app: App, settings: Settings, error: TokctlError | None) -> Iterator[Finding]:
    """Run the checks one after another."""

    def place() -> Finding:
        if error is not None:
            raise error
        return checks.place(settings)

    todo: list[tuple[str, Callable[[], Finding]]] = [
        ("configuration", checks.configuration),
        ("place", place),
        ("store", partial(checks.store, settings)),
    ]
    for name, check in todo:
        yield checks.run(name, check)
    if settings.server is not None:
        yield from _of_server(app, settings)
    yield checks.run("keyring", partial(checks.keyring, settings))
    yield checks.run("api tokens", lambda: _of_tokens(app, settings))


def _of_tokens(app: App, settings: Settings) -> Finding:
    from tokctl.cli.custody_check import api_tokens, unable

    try:
        return api_tokens(settings, app.clock)
    except TokctlError as error:
        return unable(error)


def _of_server(app: App, settings: Settings) -> Iterator[Finding]:
    from tokctl.cli.server_checks import ServerChecks

    server = ServerChecks(settings, app.clock)
    for name, check in server.all():
        yield checks.run(name, check)
    with suppress(TokctlError, OSError):
        server.close()


app = command(
    doctor,
    takes=(*opt.STORE, *opt.CONNECTION, *opt.OUTPUT),
    panel=SET_UP,
    configured=False,
    examples=("tokctl doctor", "tokctl doctor --context prod", "tokctl doctor -o json"),
)
