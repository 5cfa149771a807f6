"""``tokctl auth status``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from tokctl.access.secret import SHOWN, mask
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.authorising import Verdict, verdict_of
from tokctl.config import Settings, settings_from
from tokctl.config.file import read_configuration
from tokctl.config.settings import API_KEY, VARIABLES
from tokctl.errors import TokctlError
from tokctl.render.result import Cell, Column, Listing
from tokctl.vaults.credentials import connection_to, shown

TIMEOUT = 10.0  # s; for a question about the credential, not about processes


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A server and its credential: where that is, its mask, and whether the server accepts it."""

    context: str | None
    current: bool
    server: str
    credential: str
    secret: str | None = None
    accepted: bool | None = None
    note: str = ""


def status(
    app: App,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Ask the servers whether they accept it.")] = True,
) -> Listing:
    """Show the servers of all contexts, where the credential of each is, and whether the server accepts it.

    Of a secret the first 8 characters are shown. Exit code 1 means that some server does not accept its credential.
    """
    found = list(_statuses(app.settings, check=check))
    return Listing(
        key="servers",
        items=found,
        columns=(
            Column(key="context", title="CONTEXT", value=lambda s: s.context,
                   show=lambda s: Cell(f"{s.context or '-'}{' *' if s.current else ''}", "bold" if s.current else "")),
            Column(key="server", title="SERVER", value=lambda s: s.server, fold=True),
            Column(key="credential", title="CREDENTIAL", value=lambda s: s.credential, rank=1, fold=True),
            Column(key="secret", title="SECRET", value=lambda s: s.secret),
            Column(key="accepted", title="ACCEPTED", value=lambda s: s.accepted, show=_accepted),
            Column(key="note", title="NOTE", value=lambda s: s.note, rank=2, fold=True),
        ),
        ident=lambda s: s.server,
        document=msgspec.structs.asdict,
        empty="No context has a server. Say 'tokctl config set contexts.NAME.server URL', or --server.",
        exit_code=1 if any(one.accepted is False for one in found) else 0,
    )  # fmt: skip


def _accepted(one: Status) -> Cell:
    shown = {True: Cell("yes", "green"), False: Cell("no", "bold red"), None: Cell("unknown", "yellow")}
    return shown[one.accepted]


def _statuses(settings: Settings, *, check: bool) -> Iterator[Status]:
    """The server that is named without a context, and those of all contexts; of each that of its API tokens, too."""
    if settings.server is not None and settings.origins["server"] in {"flag", "environment TOKCTL_SERVER"}:
        yield _status(None, settings, settings.server, settings.credential, check=check)
    meant_for_one = {API_KEY, VARIABLES["credential"]}  # the secret in the environment is not shown to every server
    own = {name: value for name, value in os.environ.items() if name not in meant_for_one}
    for name in read_configuration(os.environ).contexts:
        current = name == settings.context
        of_context = settings_from({"context": name}, os.environ if current else own)
        for field, place in (("server", "credential"), ("registry_server", "registry_credential")):
            if of_context.origins.get(field) == f"context {name}":
                server = getattr(of_context, field)
                given = getattr(of_context, place) or (None if current else "keyring")
                yield _status(name, of_context, server, given, check=check, current=current)


def _status(
    context: str | None, settings: Settings, server: str, place: str | None, *, check: bool, current: bool = False
) -> Status:
    notes: list[str] = []
    secret = None
    verdict = Verdict(None)
    try:
        connection = connection_to(server, settings, place, warn=notes.append)
        connection = msgspec.structs.replace(connection, retries=0, timeout=min(settings.timeout, TIMEOUT))
        try:
            secret = connection.credential()
        except TokctlError as error:
            notes.append(error.message)
        if check:
            verdict = verdict_of(connection, secret)
    except TokctlError as error:  # the address is none
        notes.append(error.message)
    if secret is None and verdict.accepted:
        verdict = Verdict(True, "the server asks for none")
    elif secret is None and not notes and not verdict.note:
        notes.append("there is none")
    return Status(
        context=context,
        current=current,
        server=server,
        credential=shown(place),
        secret=None if secret is None else mask(secret if len(secret) >= 2 * SHOWN else ""),
        accepted=verdict.accepted,
        note="; ".join(filter(None, (*(note.rstrip(".") for note in notes), verdict.note))),
    )


app = command(
    status,
    takes=(*opt.SERVER, *opt.OUTPUT),
    examples=("tokctl auth status", "tokctl auth status -o json --no-check"),
)
