"""Finds API tokens by what a user types: an id, a name, or conditions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.api_tokens.secrets import MASK_LENGTH, PREFIX
from tokctl.errors import AmbiguousIdError, NotFoundError, UsageError
from tokctl.model.api_tokens import EXPIRED, MAX_DESCRIPTION_LENGTH, VALID, ApiToken
from tokctl.services.api_tokens.succession import Succession, Successions
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry

MAX_SUGGESTION_CANDIDATES = 1000
"""Maximum number of API tokens that are searched for a similar name."""


class AmbiguousNameError(AmbiguousIdError):
    """Several API tokens have the name that was given."""

    def __init__(self, name: str, tokens: Sequence[ApiToken], registry: Registry) -> None:
        successions = Successions(registry)
        named = ", ".join(_describe(token, successions.of(token)) for token in tokens)
        message = f"{registry.where} has several API tokens named '{name}': {named}."
        NotFoundError.__init__(self, message, "Use an id.")
        self.candidates = [str(token.id) for token in tokens]


def _describe(token: ApiToken, known: Succession) -> str:
    """Return an id with what is known of its rotation: ``1 (rotated to 2, valid until 2025-01-12 10:40 UTC)``."""
    if known.rotated_to is None:
        return f"{token.id} (replaces {known.rotated_from})" if known.rotated_from else str(token.id)
    until = "" if token.expires_at is None else f", valid until {token.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{token.id} (rotated to {known.rotated_to}{until})"


def check_text(text: str, what: str, most: int = MAX_DESCRIPTION_LENGTH) -> str:
    """Return a text without surrounding whitespace. Raises UsageError: it is not valid UTF-8, or too long."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not valid UTF-8.", "Check the terminal's encoding.") from None
    if len(text.strip()) > most:
        raise UsageError(f"{what} is too long: {len(text.strip()):,} characters.", f"The maximum is {most:,}.")
    return text.strip()


def check_token_ref(word: str) -> None:
    """Check that a word can be the id or name of an API token. Raises UsageError: it cannot, or it is a secret."""
    if not check_text(word, "the id or name of the API token"):
        raise UsageError("the id or name of the API token is empty.", "See 'tokctl api-tokens list'.")
    if word.startswith(PREFIX) and len(word) > 2 * MASK_LENGTH:  # the message must not repeat it
        raise UsageError(
            "this is a secret, not the id or name of an API token. It may now be in your shell history.",
            "Pass it on stdin: 'tokctl api-tokens revoke --secret-stdin'.",
        )


def find_api_token(registry: Registry, word: str) -> ApiToken:
    """Return an API token by its id or its name; the id takes precedence. After a rotation a name means the newest.

    Raises as ``check_token_ref``, and NotFoundError: there is no such API token; AmbiguousIdError: several.
    """
    named = find_api_tokens(registry, word)
    newest = Successions(registry).find_newest(named) if len(named) > 1 else named[0]
    if newest is None:
        raise AmbiguousNameError(word, named, registry)
    return newest


def find_api_tokens(registry: Registry, word: str) -> Sequence[ApiToken]:
    """Return the API token with an id, or else all with a name: at least one.

    Raises as ``check_token_ref``, and NotFoundError: there is no such API token.
    """
    check_token_ref(word)
    if is_api_token_id(word):
        with suppress(NotFoundError):
            return [registry.get(word)]
    if named := registry.find_by_name(word):  # a name is looked up in the list, and never in a path
        return named
    names = [token.name for token in islice(registry.list(), MAX_SUGGESTION_CANDIDATES)]
    shown = word if is_api_token_id(word) else f"'{word}'"
    raise NotFoundError(
        f"API token {shown} not found in {registry.where}{suggest(word, names)}.",
        "See 'tokctl api-tokens list'.",
    )


def is_api_token_id(word: str) -> bool:
    """Tell whether a word is taken as an id."""
    return word.isascii() and word.isdecimal()


class ApiTokenFilter(Struct, frozen=True, kw_only=True):
    """Conditions that an API token must meet, all of them. The empty filter matches every API token.

    ``expiring``: valid, and expires within this time. ``unused``: not used for this long; an API token that was never
    used counts from its creation. ``created_by``: an id, or a pattern for the email address. ``name``: a pattern.
    Patterns are shell patterns (``fnmatch``).
    """

    type: str | None = None
    scopes: tuple[str, ...] = ()
    created_by: str | None = None
    name: str | None = None
    expired: bool = False
    expiring: timedelta | None = None
    unused: timedelta | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the filter has no condition."""
        return self == ApiTokenFilter()

    def matches(self, token: ApiToken, now: datetime) -> bool:
        """Return whether an API token meets all conditions at ``now``."""
        return (
            (self.type is None or token.type == self.type)
            and all(map(token.allows, self.scopes))
            and (self.created_by is None or _is_created_by(token, self.created_by))
            and (self.name is None or fnmatchcase(token.name, self.name))
            and (not self.expired or token.state(now) == EXPIRED)
            and (self.expiring is None or _expires_within(token, self.expiring, now))
            and (self.unused is None or now - (token.last_used_at or token.created_at) >= self.unused)
        )


def _is_created_by(token: ApiToken, pattern: str) -> bool:
    by = token.created_by
    return by is not None and (str(by.id) == pattern or fnmatchcase((by.email or "").lower(), pattern.lower()))


def _expires_within(token: ApiToken, within: timedelta, now: datetime) -> bool:
    return token.state(now) == VALID and token.expires_at is not None and token.expires_at - now <= within
