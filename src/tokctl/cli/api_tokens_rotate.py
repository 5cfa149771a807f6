"""``tokctl api-tokens rotate``."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli import watching
from tokctl.cli.app import App, command
from tokctl.errors import NotFoundError, UsageError
from tokctl.process.query import parse_span
from tokctl.render import check_output
from tokctl.render.human import span
from tokctl.render.result import Cell, Detail, Field, Section

if TYPE_CHECKING:
    from tokctl.access.model import ApiToken
    from tokctl.custody.creating import Custody, Destination
    from tokctl.custody.ledger import Entry
    from tokctl.custody.rotating import Rotated, Rotation
    from tokctl.registries.base import Registry

GRACE = "24h"
POLL_SECONDS = 30.0


def rotate(
    app: App,
    token: ropt.Key,
    grace: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the old one stays valid; 0 revokes it at once.")
    ] = GRACE,
    save: opt.Save = None,
    show_secret: opt.ShowSecret = False,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            show_default=False,
            help="When the new one expires: a span, a date, or never. Unless told, it lasts as long as the old one.",
        ),
    ] = None,
    wait_until_unused: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            show_default=False,
            help="Go on until nobody has used the old one for so long, and revoke it then; at most for the grace.",
        ),
    ] = None,
) -> int:
    """Replace an API token by one with the same rights, and let the old one go.

    The new secret is saved where the old one was and tried against the store or server before the old one is touched.
    Interrupted at any step, it is finished by running it again.
    """
    from tokctl.cli.keeping import custody_of
    from tokctl.custody.rotating import Rotation, lifetime

    allowed = _grace(grace, app.now)
    quiet = None if wait_until_unused is None else parse_span(wait_until_unused)
    if quiet is not None and not timedelta() < quiet < allowed:
        raise UsageError("--wait-until-unused has to be shorter than --grace.",
                         "After the grace the old one is no more.")  # fmt: skip
    until = None if expires is None else ropt.parse_expiry(expires, app.now)
    registry = ropt.open_to_change(app)
    custody = custody_of(app, registry)
    rotation = Rotation(custody, lambda name: _destination(app, registry, name))
    old = _old(registry, rotation, token)
    place = _place(custody, old, save, show_secret=show_secret)
    check_output(app.out)
    done = rotation.run(
        old,
        place,
        grace=allowed,
        expires_at=until if expires is not None else lifetime(old, app.now),
        told=lambda rotated: _tell(app, old, rotated),
    )
    if quiet is None or done.old is None:
        return 0
    return _watch(app, rotation, old, done, quiet)


def _grace(text: str, now: datetime) -> timedelta:
    return timedelta() if text.strip() in {"0", "now"} else ropt.parse_lasting(text, "--grace", now)


def _destination(app: App, registry: Registry, name: str) -> Destination:
    from tokctl.cli.keeping import destination
    from tokctl.custody.places import STDOUT, Place

    if name == STDOUT:
        return destination(app, registry, None, show_secret=True)
    return Place(name, registry.origin, replace=True)


def _old(registry: Registry, rotation: Rotation, word: str) -> ApiToken:
    """The token to rotate. Of several with one name, the one whose rotation is not over, or which has no successor."""
    from tokctl.custody.ledger import DONE

    ropt.check_key(word)
    named = [word] if word.isdecimal() else [str(one.id) for one in registry.named(word)]
    for token_id in named:
        entry = rotation.ledger.successor(registry.origin, token_id)
        if entry is not None and entry.step != DONE:
            return _replaced(registry, entry)
    last = [one for one in named if rotation.ledger.successor(registry.origin, one) is None]
    if len(named) > 1 and len(last) == 1:
        return registry.get(last[0])
    return ropt.find(registry, word)


def _replaced(registry: Registry, entry: Entry) -> ApiToken:
    """The token that an unfinished rotation replaces; if it is gone, and that was not noted, what is known."""
    from tokctl.access.model import ApiToken
    from tokctl.custody.ledger import PROVEN, SAVED

    try:
        return registry.get(str(entry.replaces))
    except NotFoundError:
        if entry.step not in {SAVED, PROVEN}:
            raise
        return ApiToken(id=str(entry.replaces), name=entry.name, token="", created_at=entry.at)


def _place(custody: Custody, old: ApiToken, save: str | None, *, show_secret: bool) -> str:
    from tokctl.custody.places import STDOUT, held_at
    from tokctl.custody.rotating import place_for

    if show_secret:
        if save is not None:
            raise UsageError("--save and --show-secret are two places for one secret.", "Say one of them.")
        return STDOUT
    begun = custody.ledger.successor(custody.registry.origin, str(old.id))
    if begun is not None:
        return begun.place
    entry = custody.ledger.find(custody.registry.origin, str(old.id))
    place = None if entry is None else entry.place
    in_keyring = save is None and place is None and held_at("keyring", custody.registry.origin, str(old.id)) is not None
    return place_for(place, in_keyring, save)


def _tell(app: App, old: ApiToken, rotated: Rotated) -> None:
    from tokctl.cli.keeping import kept_detail
    from tokctl.custody.places import STDOUT, Place
    from tokctl.process.model import format_time
    from tokctl.render import emit

    new, place = rotated.new, rotated.entry.place
    ends = None if rotated.old is None else rotated.old.expires_at
    left = "is revoked" if ends is None else f"is valid for another {span((ends - app.now).total_seconds())}"
    if rotated.resumed:
        app.tell(f"API token {old.id} was being rotated already: nothing is left to do.")
    if place == STDOUT:
        app.tell(f"API token {new.id} takes the place of {old.id}, which {left}.")
        return
    detail = kept_detail(new, place, Place(place, rotated.entry.origin).where, app.clock())
    replaced = Section(fields=(Field("replaces", Cell(f"API token {old.id}, which {left}")),))
    document = detail.document | {"replaces": {"id": old.id, "expiresAt": format_time(ends), "revoked": ends is None}}
    emit(Detail(ident=detail.ident, document=document, title=detail.title, sections=(replaced, *detail.sections)),
         app.out)  # fmt: skip
    sys.stdout.flush()


def _watch(
    app: App,
    rotation: Rotation,
    old: ApiToken,
    done: Rotated,
    quiet: timedelta,
) -> int:
    """Revoke the old token when nobody has used it for a while; 1 if somebody did until its end."""
    began = app.clock()
    while True:
        try:
            now_old = rotation.registry.get(str(old.id))
        except NotFoundError:
            return 0
        now = app.clock()
        used = max(now_old.last_used_at or began, began)
        if now - used >= quiet:
            rotation.revoke(str(old.id), f"rotated to {done.new.id}, and unused")
            app.tell(f"Nobody has used API token {old.id} for {span(quiet.total_seconds())}: it is revoked.")
            return 0
        if now_old.expires_at is not None and now_old.expires_at <= now:
            app.tell(f"API token {old.id} was still in use until it expired: last at {_clock_time(used)} UTC.")
            return 1
        watching.pause(min(POLL_SECONDS, max((used + quiet - now).total_seconds(), 0.1)))


def _clock_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


app = command(
    rotate,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens rotate ci",
        "tokctl api-tokens rotate 7 --grace 0 --save file:/etc/ci/key",
        "tokctl api-tokens rotate ci --grace 7d --wait-until-unused 1h",
    ),
)
