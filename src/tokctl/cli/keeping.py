"""What the commands share that make secrets: where these go, and what is told of it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tokctl.access.model import ApiToken
from tokctl.cli.app import App
from tokctl.custody.creating import Custody, Destination, Kept
from tokctl.custody.ledger import Ledger
from tokctl.custody.places import STDOUT, Place, Shown
from tokctl.errors import UsageError
from tokctl.registries.base import Registry
from tokctl.render import emit
from tokctl.render.result import Cell, Detail, Field, Section
from tokctl.render.views.api_tokens import token_detail
from tokctl.vaults import PLACES
from tokctl.vaults.credentials import shown

KEYRING = "keyring"
SHOWS = ("table", "wide", "json", "ndjson", "yaml")


def custody_of(app: App, registry: Registry) -> Custody:
    """What creates tokens and keeps their secrets."""
    return Custody(registry, Ledger(), app.clock)


def destination(app: App, registry: Registry, save: str | None, *, show_secret: bool) -> Destination:
    """Where a new secret is to go. Raises UsageError: it is said twice, or cannot be."""
    if not show_secret:
        return Place(save or KEYRING, registry.origin)
    if save is not None:
        raise UsageError("--save and --show-secret are two places for one secret.", f"Say one of them: {PLACES}.")
    if app.out.format not in SHOWS:
        raise UsageError(f"-o {app.out.format} would not show the secret.", f"Valid with it: {', '.join(SHOWS)}.")
    return Shown(lambda token, secret: _show(app, token, secret), lambda: _try_to_show(app))


def _show(app: App, token: ApiToken, secret: str) -> None:
    if app.out.format in {"table", "wide"} and app.out.query is None:
        app.out.stream.write(f"{secret}\n")
        return
    document = kept_detail(token, STDOUT, "the output", app.now).document | {"secret": secret}
    emit(Detail(ident=str(token.id), document=document, title=()), app.out)


def _try_to_show(app: App) -> None:
    """See beforehand that the secret will be shown: a query may be wrong, or ask for something else."""
    example = "xvc_example"
    stream = io.StringIO()
    trial = App.__new__(App)
    trial.__dict__ |= app.__dict__ | {"out": msgspec.structs.replace(app.out, stream=stream)}
    _show(trial, ApiToken(id=0, name="", token="", created_at=datetime.now(UTC)), example)
    if example not in stream.getvalue():
        raise UsageError("the query does not ask for the secret, which would be lost.",
                         "Leave --query out, or ask for 'secret', too.")  # fmt: skip
    sys.stdout.flush()
    with suppress(OSError, ValueError):
        if os.path.samestat(os.fstat(sys.stdout.fileno()), Path(os.devnull).stat()):
            raise UsageError("the output goes nowhere, and the secret would be lost.", "Nothing was created.")


def kept_detail(token: ApiToken, place: str, where: str, now: datetime) -> Detail:
    """A token as it was created, and where its secret is."""
    detail = token_detail(token, now)
    saved = Section(fields=(Field("secret", Cell(f"in {where}", "green")),))
    return Detail(
        ident=detail.ident,
        document=detail.document | {"saved": shown(place)},
        title=detail.title,
        sections=(saved, *detail.sections),
    )


def teller(app: App, place: Destination) -> Callable[[Kept], None]:
    """What tells of a new token, at once: whoever interrupts the program learns of it still."""

    def tell(kept: Kept) -> None:
        if place.name == STDOUT:
            token = kept.token
            until = "never expires" if token.expires_at is None else f"expires at {token.expires_at:%Y-%m-%d %H:%M} UTC"
            rights = "" if token.scopes is None else f", for {', '.join(token.scopes)}"
            app.tell(f"API token {token.id} '{token.name}' ({token.token}), {token.type}{rights}; it {until}.")
        else:
            emit(kept_detail(kept.token, place.name, place.where, app.clock()), app.out)
            sys.stdout.flush()

    return tell
