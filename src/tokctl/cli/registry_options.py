"""What the commands about API tokens share: opening the registry, finding by id or name, filters, dates of expiry."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.access.filtering import ApiTokenFilter
from tokctl.access.model import LONGEST_DESCRIPTION, TYPES, ApiToken
from tokctl.access.scopes import check_scopes
from tokctl.access.secret import PREFIX, SHOWN
from tokctl.cli.app import App
from tokctl.cli.complete import complete_api_token, complete_api_token_type, complete_permission
from tokctl.cli.filters import words
from tokctl.errors import AmbiguousIdError, NotFoundError, UsageError
from tokctl.process.query import parse_moment, parse_span, suggest

if TYPE_CHECKING:
    from tokctl.registries.base import Registry

NEVER = "never"
LOOKED_OVER = 1000
"""API tokens among whose names the nearest to a wrong one is looked for."""

_FILTERS = "Which ones"

Key = Annotated[
    str,
    typer.Argument(
        metavar="TOKEN", help="An API token: its id, or its name.", autocompletion=complete_api_token,
        show_default=False,
    ),
]  # fmt: skip
Keys = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOKEN]...", help="API tokens by their ids or names.", autocompletion=complete_api_token,
        show_default=False,
    ),
]  # fmt: skip
Expired = Annotated[bool, typer.Option("--expired", help="Only those that have expired.", rich_help_panel=_FILTERS)]
Expiring = Annotated[
    str | None,
    typer.Option(
        help="Only those that expire within that time, such as 30d.", metavar="SPAN", rich_help_panel=_FILTERS
    ),
]
Unused = Annotated[
    str | None,
    typer.Option(
        help="Only those that nobody has used for so long, such as 90d.", metavar="SPAN", rich_help_panel=_FILTERS
    ),
]
Type = Annotated[
    str | None,
    typer.Option(
        "--type", help="Only those of this type: read-only or full-access.", metavar="TYPE",
        autocompletion=complete_api_token_type, rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", help="Only those that allow this, by its name or by '*'; may be repeated.", metavar="PERMISSION",
        autocompletion=complete_permission, rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
CreatedBy = Annotated[
    str | None,
    typer.Option(
        help="Only those made by this user: an id, or a pattern of the email address.", metavar="GLOB",
        rich_help_panel=_FILTERS,
    ),
]  # fmt: skip
Name = Annotated[
    str | None,
    typer.Option(help="Only those whose name fits this pattern.", metavar="GLOB", rich_help_panel=_FILTERS),
]


class AmbiguousNameError(AmbiguousIdError):
    """A name that several API tokens have."""

    def __init__(self, name: str, ids: list[str], where: str) -> None:
        NotFoundError.__init__(
            self, f"{where} has several API tokens named '{name}': {', '.join(ids)}.", "Give the id of one."
        )
        self.candidates = ids


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
    """Make a filter of the options. Raises UsageError for what cannot mean anything."""
    if expired and expiring is not None:
        raise UsageError("--expired and --expiring contradict each other.", "Leave one out.")
    for option, given in (("--created-by", created_by), ("--name", name)):
        if given is not None and not given.strip():
            raise UsageError(f"{option} names nothing.", "Give it a pattern, or leave it out.")
    return ApiTokenFilter(
        expired=expired,
        expiring=None if expiring is None else parse_span(expiring),
        unused=None if unused is None else parse_span(unused),
        type=None if type_ is None else check_type(type_),
        scopes=check_scopes(words(scope, "--scope")),
        created_by=created_by,
        name=name,
    )


def check_text(text: str, what: str, most: int = LONGEST_DESCRIPTION) -> str:
    """Return a text without blanks around it. Raises UsageError: it holds bytes that are no UTF-8, or is too long."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is no text in UTF-8.", "Check the terminal's encoding.") from None
    if len(text.strip()) > most:
        raise UsageError(f"{what} is too long: {len(text.strip()):,} characters.", f"At most {most:,}.")
    return text.strip()


def parse_lasting(text: str, option: str, now: datetime) -> timedelta:
    """Read a span that begins now. Raises UsageError: it is none, or its end lies behind that of the calendar."""
    lasts = parse_span(text)
    try:
        now + lasts
    except OverflowError:
        raise UsageError(f"{option} {text} lies behind the end of the calendar.", "Give a shorter one.") from None
    return lasts


def check_type(name: str) -> str:
    """Return a type's documented name. Raises UsageError: there is none of that name."""
    known = name.strip().lower()
    if known not in TYPES:
        raise UsageError(f"there is no type '{name}'{suggest(known, TYPES)}.", f"Valid: {', '.join(TYPES)}.")
    return known


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """Read when an API token is to expire, to the second: a span from now, a time, or ``never`` (None).

    Raises:
        UsageError: it is none of these, or past.
    """
    if text.strip().lower() == NEVER:
        return None
    try:
        moment = now + parse_span(text)
    except OverflowError:
        raise UsageError(f"--expires {text} lies behind the end of the calendar.", f"Say '{NEVER}'.") from None
    except UsageError:
        moment = parse_moment(text, now)
    moment = moment.replace(microsecond=0)  # as servers keep it
    if moment <= now:
        raise UsageError(f"--expires {text} is past.", f"Give a span such as 90d, a date to come, or '{NEVER}'.")
    return moment


def open_to_change(app: App) -> Registry:
    """Open the registry to change what is there. A store that is not there is an error, and is not made."""
    app.open_registry().close()
    return app.open_registry(write=True)


def check_key(word: str) -> None:
    """See that a word can be an API token's id or name. Raises UsageError: it cannot, or is a secret."""
    if not check_text(word, "the API token's id or name"):
        raise UsageError("an API token's id or name is empty.", "'tokctl api-tokens list' shows them.")
    if word.startswith(PREFIX) and len(word) > 2 * SHOWN:  # it is not to be repeated
        raise UsageError("that is a secret, not an API token's id or name, and now the shell's history may have it.",
                         "Hand it over on stdin: 'api-tokens revoke --secret-stdin'.")  # fmt: skip


def find(registry: Registry, word: str) -> ApiToken:
    """Return an API token by its id or its name; an id wins over a name that is the same.

    Raises:
        UsageError: it is none of these, but a secret.
        NotFoundError: there is none; names the nearest.
        AmbiguousIdError: several have that name.
    """
    check_key(word)
    with suppress(NotFoundError):
        return registry.get(word)
    named = registry.named(word)
    if len(named) > 1:
        raise AmbiguousNameError(word, [str(token.id) for token in named], registry.where)
    if named:
        return named[0]
    names = [token.name for token in islice(registry.list(), LOOKED_OVER)]
    raise NotFoundError(f"there is no API token {_quoted(word)} in {registry.where}{suggest(word, names)}.",
                        "'tokctl api-tokens list' shows them.")  # fmt: skip


def is_number(word: str) -> bool:
    """Tell whether a word is taken for an id."""
    return word.isascii() and word.isdecimal()


def _quoted(word: str) -> str:
    return word if is_number(word) else f"'{word}'"


def matching(tokens: Iterable[ApiToken], where: ApiTokenFilter, now: datetime) -> Iterable[ApiToken]:
    """Those of the API tokens that are asked for."""
    return (token for token in tokens if where.matches(token, now))


def can_ask() -> bool:
    """Tell whether there is somebody at a terminal to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask for a yes; anything else, and the end of the input, is a no."""
    from tokctl.render.human import safe

    sys.stderr.write(f"{safe(question)} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")  # nobody has pressed Enter
    return answer.strip().lower() in {"y", "yes"}
