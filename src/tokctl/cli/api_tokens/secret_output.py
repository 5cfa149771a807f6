"""Helpers of the commands that create secrets: places of secrets, and reports."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from tokctl.api_tokens.custody.creation import Custody, IssuedToken, TokenSecretSink
from tokctl.api_tokens.custody.ledger import Ledger
from tokctl.api_tokens.custody.sinks import STDOUT, StdoutSink, VaultSink
from tokctl.api_tokens.registries.protocol import Registry
from tokctl.api_tokens.vault_kinds import SINK_SYNTAX
from tokctl.api_tokens.vaults.credentials import format_place
from tokctl.api_tokens.vaults.protocol import MayReplace, replace_anything, replace_nothing
from tokctl.cli.app import App
from tokctl.documents.api_tokens import CreatedApiToken, ReplacedApiToken, encode_api_token_overview
from tokctl.errors import UsageError
from tokctl.model.api_tokens import ApiToken
from tokctl.model.times import format_time
from tokctl.render import emit
from tokctl.render.result import Cell, Detail, Field, Output, Section
from tokctl.render.text import format_duration
from tokctl.render.views.api_tokens import api_token_detail
from tokctl.services.api_tokens.regeneration import RotationInPlace
from tokctl.services.api_tokens.rotation import Rotation, RotationResult, find_successor_place

KEYRING = "keyring"
SECRET_FORMATS = ("table", "wide", "json", "ndjson", "yaml")


def open_custody(app: App, registry: Registry) -> Custody:
    """Return the service that creates API tokens and saves their secrets."""
    return Custody(registry, Ledger(), app.clock, warn=lambda text: app.warn(f"warning: {text}"))


def choose_sink(
    app: App,
    registry: Registry,
    save: str | None,
    *,
    show_secret: bool,
    may_replace: MayReplace = replace_nothing,
) -> TokenSecretSink:
    """Return where a new secret goes. Raises UsageError: two places are named, or an invalid one."""
    if not show_secret:
        return VaultSink(save or KEYRING, registry.origin, may_replace=may_replace)
    if save is not None:
        raise UsageError(
            "--save and --show-secret cannot be used together.", f"Use --show-secret, or --save with {SINK_SYNTAX}."
        )
    if app.out.format not in SECRET_FORMATS:
        raise UsageError(
            f"-o {app.out.format} does not include the secret.",
            f"Valid with --show-secret: {', '.join(SECRET_FORMATS)}.",
        )
    return StdoutSink(
        lambda token, secret: _print_secret(app.out, token, secret), lambda: _check_secret_output(app.out)
    )


def open_rotation(app: App, registry: Registry, *, replace: bool) -> Rotation:
    """Return the service that rotates API tokens; with ``replace`` any other secret in a place is overwritten."""

    def open_sink(name: str, may_replace: MayReplace) -> TokenSecretSink:
        if name == STDOUT:
            return choose_sink(app, registry, None, show_secret=True)
        return VaultSink(name, registry.origin, may_replace=replace_anything if replace else may_replace)

    kind = Rotation if registry.capabilities().grace else RotationInPlace
    return kind(open_custody(app, registry), open_sink)


def choose_successor_place(rotation: Rotation, old: ApiToken, save: str | None, *, show_secret: bool) -> str:
    """Return where the secret of a successor goes. Raises UsageError as ``find_successor_place``."""
    if not show_secret:
        return find_successor_place(rotation.custody, old, save)
    if save is not None:
        raise UsageError("--save and --show-secret cannot be used together.", "Use only one of them.")
    return STDOUT


def _print_secret(out: Output, token: ApiToken, secret: str) -> None:
    if out.format in {"table", "wide"} and out.query is None:
        out.stream.write(f"{secret}\n")
        return
    saved = format_place(STDOUT)
    document = encode_api_token_overview(token, out.now, CreatedApiToken, saved=saved, secret=secret)
    emit(Detail(ident=str(token.id), document=document, title=()), out)


def _check_secret_output(out: Output) -> None:
    """Check beforehand that the output will have the secret: a query may be invalid, or select something else."""
    example = "xvc_example"
    stream = io.StringIO()
    token = ApiToken(id=0, name="", token="", created_at=datetime.now(UTC))
    _print_secret(replace(out, stream=stream), token, example)
    if example not in stream.getvalue():
        raise UsageError(
            "the query does not select the secret, which would be lost.",
            "Remove --query, or select 'secret'.",
        )
    sys.stdout.flush()
    with suppress(OSError, ValueError):
        if os.path.samestat(os.fstat(sys.stdout.fileno()), Path(os.devnull).stat()):
            raise UsageError(
                "stdout is closed or /dev/null: the secret would be lost. Nothing was created.", "Use --save."
            )


def saved_token_detail(
    token: ApiToken, place: str, where: str, now: datetime, *, replaces: ReplacedApiToken | UnsetType = UNSET
) -> Detail:
    """Return the report of a new API token, of the place of its secret, and of the token that it replaces."""
    detail = api_token_detail(token, now)
    saved = Section(fields=(Field("secret", Cell(f"in {where}", "green")),))
    saved_in = format_place(place)
    document = encode_api_token_overview(token, now, CreatedApiToken, saved=saved_in, replaces=replaces)
    return replace(detail, document=document, sections=(saved, *detail.sections))


def create_reporter(app: App, place: TokenSecretSink) -> Callable[[IssuedToken], None]:
    """Return a function that reports a new API token at once: it is visible even after an interruption."""

    def notify(kept: IssuedToken) -> None:
        if place.name == STDOUT:
            token = kept.token
            until = "never expires" if token.expires_at is None else f"expires at {token.expires_at:%Y-%m-%d %H:%M} UTC"
            rights = "" if token.scopes is None else f", for {', '.join(token.scopes)}"
            app.notify(f"API token {token.id} '{token.name}' ({token.token}), {token.type}{rights}; it {until}.")
        else:
            emit(saved_token_detail(kept.token, place.name, place.where, app.clock()), app.out)
            sys.stdout.flush()

    return notify


def report_rotation(app: App, old: ApiToken, rotated: RotationResult) -> None:
    """Report a rotation at once."""
    new, place = rotated.new, rotated.entry.place
    if new.id == old.id:
        _report_replaced_secret(app, rotated)
        return
    ends = None if rotated.old is None else rotated.old.expires_at
    left = "is revoked" if ends is None else f"is valid for another {format_duration((ends - app.now).total_seconds())}"
    if rotated.resumed:
        app.notify(f"API token {old.id} is rotated already.")
    if place == STDOUT:
        app.notify(f"API token {new.id} replaces {old.id}, which {left}.")
        return
    old_one = ReplacedApiToken(id=old.id, expires_at=format_time(ends), revoked=ends is None)
    where = VaultSink(place, rotated.entry.origin).where
    detail = saved_token_detail(new, place, where, app.clock(), replaces=old_one)
    replaced = Section(fields=(Field("replaces", Cell(f"API token {old.id}, which {left}")),))
    emit(replace(detail, sections=(replaced, *detail.sections)), app.out)
    sys.stdout.flush()


def _report_replaced_secret(app: App, rotated: RotationResult) -> None:
    """Report an API token whose secret was replaced in place."""
    new, place = rotated.new, rotated.entry.place
    until = "" if new.expires_at is None else f" The token expires at {new.expires_at:%Y-%m-%d %H:%M} UTC, as before."
    app.notify(f"The old secret of API token {new.id} '{new.name}' is invalid.{until}")
    if place != STDOUT:
        where = VaultSink(place, rotated.entry.origin).where
        emit(saved_token_detail(new, place, where, app.clock()), app.out)
        sys.stdout.flush()
