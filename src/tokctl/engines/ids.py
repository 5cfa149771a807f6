"""Resolves the ids that users type: a whole id, a prefix, or ``@latest``."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from tokctl.engines.protocol import Engine
from tokctl.errors import AmbiguousIdError, NotFoundError, UsageError
from tokctl.text import suggest

LATEST = "@latest"
CUT = "…"  # the end of an id that a table cut, and a user copied
MIN_PREFIX_LENGTH = 8  # characters
MAX_LISTED_CANDIDATES = 5  # candidates that an error lists


def resolve_instance(engine: Engine, given: str | None) -> str:
    """Return the id of an instance.

    Args:
        engine: where to look.
        given: an id, an id prefix, or ``@latest``; None if there is only one instance.

    Raises:
        NotFoundError: there is none; AmbiguousIdError: there are several.
        UsageError: None was given, but there are several.
    """
    if given is None:
        ids = engine.instance_ids("", 2)
        if len(ids) == 1:
            return ids[0]
        if not ids:
            raise NotFoundError("no process instances found.")
        raise UsageError("no process instance given.", "Give an id, an id prefix, or @latest.")
    given = given.removesuffix(CUT)
    if given == LATEST:
        latest = engine.latest_instance_id()
        if latest is None:
            raise NotFoundError("@latest: no process instances found.")
        return latest
    if given.startswith("@"):
        raise UsageError(
            f"unknown instance name '{given}'{suggest(given, [LATEST])}.", "Use @latest for the newest instance."
        )
    ids = engine.instance_ids(given, MAX_LISTED_CANDIDATES + 1)
    if given and not ids:
        engine.instance(given)  # whose error says why there is none
    if not ids or not given:
        raise NotFoundError(f"no process instance '{given}'.", "See 'tokctl instances list'.")
    if ids[0] == given or len(ids) == 1:
        return ids[0]
    raise AmbiguousIdError(
        "process instance", given, ids[:MAX_LISTED_CANDIDATES], more=len(ids) > MAX_LISTED_CANDIDATES
    )


def shorten_instance_id(engine: Engine, instance_id: str) -> str:
    """Return the beginning of an id that no other instance shares, of at least MIN_PREFIX_LENGTH characters."""
    return _shorten(instance_id, lambda prefix: engine.instance_ids(prefix, 2) == [instance_id])


def shorten_token_id(engine: Engine, token_id: str) -> str:
    """Return the beginning of an id that no other token shares, as ``shorten_instance_id``."""
    return _shorten(token_id, lambda prefix: [found for _, found in engine.token_ids(prefix, None, 2)] == [token_id])


def _shorten(given: str, is_unique: Callable[[str], bool]) -> str:
    lengths = range(MIN_PREFIX_LENGTH, len(given))
    short = given[: bisect_left(lengths, True, key=lambda length: is_unique(given[:length])) + MIN_PREFIX_LENGTH]
    return given if short.endswith(" ") else short  # nobody sees a space at the end


def resolve_instances(engine: Engine, given: Iterable[str | None]) -> list[str]:
    """Return the ids of instances, each once. Raises as ``resolve_instance``."""
    return list(dict.fromkeys(resolve_instance(engine, one) for one in given))


def resolve_token(engine: Engine, given: str, instance_id: str | None = None) -> tuple[str, str]:
    """Return (instance id, token id) of a token, by its id or an id prefix.

    Raises:
        NotFoundError: there is none; AmbiguousIdError: there are several.
    """
    given = given.removesuffix(CUT)
    found = engine.token_ids(given, instance_id, MAX_LISTED_CANDIDATES + 1) if given else []
    exact = [(instance, token) for instance, token in found if token == given]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    if not found:
        raise NotFoundError(f"no token '{given}'.", "See 'tokctl tokens list INSTANCE'.")
    names = [token if not exact else f"{token} of {instance}" for instance, token in exact or found]
    raise AmbiguousIdError("token", given, names[:MAX_LISTED_CANDIDATES], more=len(found) > MAX_LISTED_CANDIDATES)
