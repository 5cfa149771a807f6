"""``tokctl api-tokens rotate``."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import UsageError
from tokctl.model.durations import parse_duration
from tokctl.render import validate_query
from tokctl.render.text import format_duration

if TYPE_CHECKING:
    from tokctl.model.api_tokens import ApiToken
    from tokctl.services.api_tokens.rotation import Expiry, Rotation, RotationResult


MIN_QUIET = timedelta(minutes=1)
"""Shortest time for --wait-until-unused: servers record uses some seconds late."""


def rotate(
    app: App,
    token: ropt.TokenArgument,
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            show_default=False,
            help="How long the old token stays valid (default: 24h). 0 revokes it immediately.",
        ),
    ] = None,
    save: opt.Save = None,
    replace: ropt.Replace = False,
    show_secret: opt.ShowSecret = False,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            show_default=False,
            help="Expiry of the new token: a duration, a date, or never (default: the lifetime of the old one).",
        ),
    ] = None,
    wait_until_unused: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            show_default=False,
            help="Wait until the old token has not been used for this time, then revoke it (limit: --grace).",
        ),
    ] = None,
) -> int:
    """Replace an API token with a new one with the same rights.

    The new secret is saved where the old one was, and verified before the old API token is changed. After an
    interruption, run the command again to complete the rotation. With the id of an old API token that is rotated
    already, --grace sets a new end of its validity.
    """
    from tokctl.cli.api_tokens.secret_output import choose_successor_place, open_rotation, report_rotation
    from tokctl.services.api_tokens.rotation import DEFAULT_GRACE, find_rotated_token

    allowed = None if grace is None else _parse_grace(grace, app.now)
    quiet = None if wait_until_unused is None else parse_duration(wait_until_unused)
    if quiet is not None and not timedelta() < quiet < (DEFAULT_GRACE if allowed is None else allowed):
        raise UsageError(
            "--wait-until-unused must be shorter than --grace.", "Use a shorter duration, or a longer --grace."
        )
    if quiet is not None and quiet < MIN_QUIET:
        raise UsageError("--wait-until-unused must be at least 1m.", "Servers record uses some seconds late.")
    until: Expiry = "as before" if expires is None else ropt.parse_expiry(expires, app.now) or "never"
    registry = ropt.open_for_update(app)
    rotation = open_rotation(app, registry, replace=replace)
    old = find_rotated_token(registry, rotation, token)
    place = choose_successor_place(rotation, old, save, show_secret=show_secret)
    validate_query(app.out)
    done = rotation.run(old, place, grace=allowed, expires_at=until, report=partial(report_rotation, app, old))
    if quiet is None or done.old is None:
        return 0
    return _revoke_when_unused(app, rotation, old, done, quiet)


def _parse_grace(text: str, now: datetime) -> timedelta:
    return timedelta() if text.strip() in {"0", "now"} else ropt.parse_lifetime(text, "--grace", now)


def _revoke_when_unused(app: App, rotation: Rotation, old: ApiToken, done: RotationResult, quiet: timedelta) -> int:
    """Revoke the old token once it is unused; returns 1 if it was in use until it expired."""
    from tokctl.services.api_tokens.rotation import revoke_when_unused

    unused = format_duration(quiet.total_seconds())
    app.notify(f"Waiting until API token {old.id} has not been used for {unused}. Press Ctrl-C to leave it as it is.")
    waited = revoke_when_unused(rotation, old, done.new, quiet)
    if waited.outcome == "revoked":
        app.notify(f"API token {old.id} was not used for {unused} and is revoked.")
    if waited.outcome == "expired":
        used = f"{waited.last_used_at:%Y-%m-%d %H:%M:%S}"
        app.warn(f"API token {old.id} was in use until it expired. It was last used at {used} UTC.")
        return 1
    return 0


app = command(
    rotate,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens rotate ci",
        "tokctl api-tokens rotate 7 --grace 0 --save file:/etc/ci/key",
        "tokctl api-tokens rotate ci --grace 7d --wait-until-unused 1h",
    ),
)
