"""``tokctl doctor``."""

from __future__ import annotations

from platform import platform, python_version

from tokctl.cli import options as opt
from tokctl.cli.app import CONFIG_PANEL, App, command
from tokctl.config import resolve_settings
from tokctl.documents.base import Document, with_extra
from tokctl.documents.setup import CheckDocument
from tokctl.errors import TokctlError
from tokctl.render.result import Cell, Column, Listing
from tokctl.render.text import count
from tokctl.services.doctor import run_checks
from tokctl.services.doctor.results import CheckResult
from tokctl.version import __version__

_STATE_STYLES = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✗", "bold red"),
}


def doctor(app: App) -> Listing:
    """Check the setup of tokctl: configuration, store, server, clock, credential and keyring.

    One line per check, with the result and what to do. A warning means that something works, but not fully. No
    secret is shown. Exit code 1 if there is a problem.
    """
    error: TokctlError | None = None
    try:
        settings = app.settings
        _ = settings.kind  # raises if they name two places
    except TokctlError as found:
        error = found
        shown = {name: value for name, value in app.flags.items() if name in {*opt.OUTPUT, *opt.GLOBAL}}
        settings = app.settings = resolve_settings(shown, {}, configured=False)
    findings = list(run_checks(settings, app.clock, error))

    def state_cell(one: CheckResult) -> Cell:
        sign, style = _STATE_STYLES[one.state]
        return Cell(one.state, style, sign=sign)

    counts = {state: sum(one.state == state for one in findings) for state in _STATE_STYLES}
    said = ", ".join(count(n, state) for state, n in counts.items() if n and state != "ok")
    return Listing(
        key="checks",
        items=findings,
        columns=(
            Column("check", "CHECK"),
            Column("state", "STATE", show=state_cell),
            Column("found", "FOUND", fold=True, min_width=24),
            Column("advice", "WHAT TO DO", lambda one: one.advice or None, fold=True, min_width=24),
        ),
        ident=lambda one: one.check,
        document=_encode_check,
        head={"version": __version__, "python": python_version(), "platform": platform()},
        notes=lambda _: [f"{said[:1].upper()}{said[1:]}." if said else "No problems found."],
        exit_code=1 if counts["problem"] else 0,
    )


def _encode_check(one: CheckResult) -> Document:
    document = CheckDocument(check=one.check, state=one.state, found=one.found, advice=one.advice or None)
    return with_extra(document, one.facts, after="advice")


app = command(
    doctor,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    panel=CONFIG_PANEL,
    configured=False,
    examples=("tokctl doctor", "tokctl doctor --context prod", "tokctl doctor -o json"),
)
