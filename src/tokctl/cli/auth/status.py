"""``tokctl auth status``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import typer
from msgspec.structs import replace

from tokctl.api_tokens.secrets import MASK_LENGTH, mask
from tokctl.api_tokens.vaults.credentials import build_connection, format_place, registry_place
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.auth.common import with_secret
from tokctl.config import Settings, resolve_settings
from tokctl.config.file import read_configuration
from tokctl.config.settings import API_KEY, VARIABLES
from tokctl.documents.setup import ServerCredential
from tokctl.errors import TokctlError
from tokctl.render.result import Cell, Column, Listing
from tokctl.services.server_roles import CredentialCheck, check_secret, find_api
from tokctl.services.store_passwords import StorePassword, check_store_password, is_in_database

STATUS_TIMEOUT_SECONDS = 10.0  # for each server; shorter than that of other requests, as there may be many servers


def status(
    app: App,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Check the credentials on the servers.")] = True,
) -> Listing:
    """Show the servers of all contexts, where their credentials are, and whether the servers accept them.

    Stores in PostgreSQL are shown, too, with the password of their database. Only the first 8 characters of secrets are
    shown, and nothing of passwords. Exit code 1: a server rejects its credential.
    """
    found = list(_statuses(app.settings, check=check))
    return Listing(
        key="servers",
        items=found,
        columns=(
            Column(
                key="context",
                title="CONTEXT",
                value=lambda s: s.context,
                show=lambda s: Cell(f"{s.context or '-'}{' *' if s.current else ''}", "bold" if s.current else ""),
            ),
            Column(key="server", title="SERVER", value=lambda s: s.server, fold=True),
            Column(key="credential", title="CREDENTIAL", value=lambda s: s.credential, rank=1, fold=True),
            Column(key="secret", title="SECRET", value=lambda s: s.secret),
            Column(key="accepted", title="ACCEPTED", value=lambda s: s.accepted, show=_accepted),
            Column(key="note", title="NOTE", value=lambda s: s.note, rank=2, fold=True),
        ),
        ident=lambda s: s.server,
        document=lambda s: s,
        empty="No context has a server. Set one with 'tokctl config set contexts.NAME.server URL', or use --server.",
        exit_code=1 if any(one.accepted is False for one in found) else 0,
    )


def _accepted(one: ServerCredential) -> Cell:
    shown = {True: Cell("yes", "green"), False: Cell("no", "bold red"), None: Cell("unknown", "yellow")}
    return shown[one.accepted]


def _statuses(settings: Settings, *, check: bool) -> Iterator[ServerCredential]:
    """Yield what is named without a context, and the servers and stores of all contexts, with those of API tokens."""
    if settings.server is not None and settings.origins["server"] in {"flag", "environment TOKCTL_SERVER"}:
        yield _status(None, settings, settings.server, settings.credential, check=check)
    if settings.store is not None and settings.origins["store"] in {"flag", "environment TOKCTL_STORE"}:
        yield from _store_status(None, settings.store, check=check, current=True)
    # The secret in the environment must not be sent to all servers.
    meant_for_one = {API_KEY, VARIABLES["credential"], VARIABLES["registry_credential"]}
    own = {name: value for name, value in os.environ.items() if name not in meant_for_one}
    configuration = read_configuration(os.environ)
    for name in configuration.contexts:
        current = name == settings.context
        of_context = resolve_settings({"context": name}, os.environ if current else own)
        for field, place in (("server", of_context.credential), ("registry_server", registry_place(of_context))):
            if of_context.origins.get(field) == f"context {name}":
                server = getattr(of_context, field)
                given = place or (None if current else "keyring")
                registry = field == "registry_server"
                yield _status(name, of_context, server, given, check=check, current=current, registry=registry)
        if of_context.store is not None and of_context.origins["store"] == f"context {name}":
            yield from _store_status(name, of_context.store, check=check, current=current)
    if (served := configuration.section_values("serve").get("store")) is not None:
        yield from _store_status(None, served, check=check, current=False)


def _status(
    context: str | None,
    settings: Settings,
    server: str,
    place: str | None,
    *,
    check: bool,
    current: bool = False,
    registry: bool = False,
) -> ServerCredential:
    notes: list[str] = []
    secret = None
    verdict = CredentialCheck(None)
    try:
        connection = build_connection(server, settings, place, warn=notes.append)
        connection = replace(connection, retries=0, timeout=min(settings.timeout, STATUS_TIMEOUT_SECONDS))
        try:
            secret = connection.credential()
        except TokctlError as error:
            notes.append(error.message)
        if check:
            verdict = check_secret(find_api(with_secret(connection, secret), settings, registry=registry))
    except TokctlError as error:  # an invalid URL, or no answer
        notes.append(error.message)
    if secret is None and verdict.accepted:
        verdict = CredentialCheck(True, "the server requires no credential")
    elif secret is None and not notes and not verdict.note:
        notes.append("no credential")
    return ServerCredential(
        context=context,
        current=current,
        server=server,
        credential=format_place(place),
        secret=None if secret is None else _mask_credential(secret),
        accepted=verdict.accepted,
        note="; ".join(filter(None, (*(note.rstrip(".") for note in notes), verdict.note))),
    )


def _store_status(context: str | None, store: str, *, check: bool, current: bool) -> Iterator[ServerCredential]:
    """Yield the database of a store, if it is in one."""
    if not is_in_database(store):
        return
    try:
        found = check_store_password(store, check=check, in_use=current)
    except TokctlError as error:  # an invalid URL, or a missing package
        found = StorePassword(store=store.partition("?")[0], place="keyring", note=error.message)
    yield ServerCredential(
        context=context,
        current=current and context is not None,
        server=found.store,
        credential=found.place,
        secret=mask("") if found.is_found else None,
        accepted=found.accepted,
        note=found.note.rstrip("."),
    )


def _mask_credential(secret: str) -> str:
    """Return the first characters of a secret; of one with a colon, which may be a password, none after the colon."""
    user, colon, _ = secret.partition(":")
    if colon:
        return f"{user[:MASK_LENGTH]}{colon}..."
    return mask(secret if len(secret) >= 2 * MASK_LENGTH else "")


app = command(
    status,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=("tokctl auth status", "tokctl auth status -o json --no-check"),
)
