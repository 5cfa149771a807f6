"""Options of the commands about API tokens, and their values: filters, types, times of expiry, registries."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.cli.app import App
from tokctl.cli.completion import complete_api_token, complete_api_token_type, complete_permission
from tokctl.cli.filters import words
from tokctl.errors import UsageError
from tokctl.model.api_tokens import API_TOKEN_TYPES, CUSTOM
from tokctl.model.durations import parse_duration
from tokctl.model.networks import validate_networks
from tokctl.model.scopes import DEFAULT_SCOPES, PERMISSIONS, validate_scopes
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.services.api_tokens.lookup import ApiTokenFilter, find_api_token
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry
    from tokctl.render.result import Detail

NEVER = "never"
ANY = "any"
NEW_SCOPE_HELP = (
    f"Scope to grant: {', '.join(PERMISSIONS)} (repeatable; default: {', '.join(DEFAULT_SCOPES)}). * grants all."
)

_token = partial(typer.Argument, autocompletion=complete_api_token, show_default=False)
_filter = partial(typer.Option, rich_help_panel="Filters")

TokenArgument = Annotated[str, _token(metavar="TOKEN", help="Id or name of an API token.")]
TokenArguments = Annotated[list[str] | None, _token(metavar="[TOKEN]...", help="Ids or names of API tokens.")]
NewNetworks = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-cidr",
        metavar="NETWORK",
        show_default=False,
        help="Network from which the token may be used, such as 10.0.0.0/8, or any (repeatable; default: any).",
    ),
]
NewType = Annotated[
    str, typer.Option("--type", metavar="TYPE", help="Type of the token: read-only, full-access, or custom (Strapi).")
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Overwrite another secret in the file or the variable of --save.")
]
Expired = Annotated[bool, _filter("--expired", help="Only expired tokens.")]
Expiring = Annotated[
    str | None, _filter(help="Only tokens that expire within this time, such as 30d.", metavar="DURATION")
]
Unused = Annotated[
    str | None, _filter(help="Only tokens that have not been used for this time, such as 90d.", metavar="DURATION")
]
Type = Annotated[
    str | None,
    _filter(
        "--type",
        help="Only tokens of this type: read-only or full-access.",
        metavar="TYPE",
        autocompletion=complete_api_token_type,
    ),
]
Scopes = Annotated[
    list[str] | None,
    _filter(
        "--scope",
        help="Only tokens with this scope, or with * (repeatable).",
        metavar="SCOPE",
        autocompletion=complete_permission,
    ),
]
CreatedBy = Annotated[
    str | None,
    _filter(help="Only tokens created by this user: id, or pattern of the email address.", metavar="GLOB"),
]
Name = Annotated[str | None, _filter(help="Only tokens whose name matches this pattern.", metavar="GLOB")]


def api_token_filter(
    *,
    expired: bool = False,
    expiring: str | None = None,
    unused: str | None = None,
    type_: str | None = None,
    scope: list[str] | None = None,
    created_by: str | None = None,
    name: str | None = None,
) -> ApiTokenFilter:
    """Return the filter that the options describe. Raises UsageError: an option is invalid."""
    if expired and expiring is not None:
        raise UsageError("--expired and --expiring cannot be used together.", "Use only one of them.")
    for option, given in (("--created-by", created_by), ("--name", name)):
        if given is not None and not given.strip():
            raise UsageError(f"{option} is empty.", "Give it a pattern, or remove it.")
    return ApiTokenFilter(
        expired=expired,
        expiring=None if expiring is None else parse_duration(expiring),
        unused=None if unused is None else parse_duration(unused),
        type=None if type_ is None else check_type(type_),
        scopes=parse_scopes(scope),
        created_by=created_by,
        name=name,
    )


def parse_networks(given: list[str]) -> tuple[str, ...]:
    """Return the networks of an API token; ``any`` stands for no limit. Raises UsageError: one is not a network."""
    texts = words(given, "--allowed-cidr")
    return () if [text.strip().lower() for text in texts] == [ANY] else validate_networks(texts)


def parse_lifetime(text: str, option: str, now: datetime) -> timedelta:
    """Parse a duration from now. Raises UsageError: it is invalid, or ends after the year 9999."""
    lasts = parse_duration(text)
    try:
        now + lasts
    except OverflowError:
        raise UsageError(
            f"{option} {text} is too long: it ends after the year 9999.", "Give a shorter duration."
        ) from None
    return lasts


def check_type(name: str) -> str:
    """Return the documented name of a type. Raises UsageError: there is no such type."""
    known, types = name.strip().lower(), (*API_TOKEN_TYPES, CUSTOM)
    if known not in types:
        raise UsageError(f"unknown type '{name}'{suggest(known, types)}.", f"Valid: {', '.join(types)}.")
    return known


def parse_scopes(given: list[str] | None) -> tuple[str, ...]:
    """Return scopes, each once. Raises UsageError: one does not exist.

    Permissions of a CMS, such as ``plugin::upload.content-api.find``, are not checked here: only its server knows them.
    """
    names = words(given, "--scope")
    if any("::" in name for name in names):
        return tuple(dict.fromkeys(name.strip() for name in names))
    return validate_scopes(names)


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """Parse when an API token expires, to the second: a duration from now, a future time, or ``never`` (None)."""
    if text.strip().lower() == NEVER:
        return None
    try:
        moment = now + parse_duration(text)
    except OverflowError:
        raise UsageError(f"--expires {text} is after the year 9999.", f"Use '{NEVER}'.") from None
    except UsageError:
        moment = parse_time_or_age(text, now)
    moment = moment.replace(microsecond=0)  # some servers keep seconds only
    if moment <= now:
        raise UsageError(
            f"--expires {text} is in the past.", f"Give a duration such as 90d, a future date, or '{NEVER}'."
        )
    return moment


def choose_scopes(registry: Registry, scopes: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the scopes of a new API token: the given ones, as the registry knows them; None for its default."""
    return registry.check_scopes(scopes) if scopes else None


def set_disabled(app: App, word: str, *, disabled: bool) -> Detail:
    """Disable or enable an API token, and return the change. Raises UnsupportedChangeError, and as ``find_api_token``.

    What the registry supports is checked before it is asked for the API token.
    """
    from tokctl.api_tokens.registries.protocol import check_fields
    from tokctl.render import validate_query
    from tokctl.render.views.api_tokens import update_detail

    validate_query(app.out)
    registry = open_for_update(app)
    check_fields(registry, ("disabled",))
    before = find_api_token(registry, word)
    return update_detail(before, registry.update(str(before.id), {"disabled": disabled}), app.now)


def open_for_update(app: App) -> Registry:
    """Open the registry to change existing API tokens. A missing store is an error, and is not created."""
    app.open_registry().close()
    return app.open_registry(write=True)
