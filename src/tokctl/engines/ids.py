"""Turns what people type for an id into an id: the whole of it, a prefix, or ``@latest``."""

from __future__ import annotations

from tokctl.errors import AmbiguousIdError, NotFoundError, UsageError
from tokctl.process.engine import Engine
from tokctl.process.query import suggest

LATEST = "@latest"
SHOWN = 5  # candidates that an error lists


def resolve_instance(engine: Engine, given: str | None) -> str:
    """Return the id of the instance that is meant.

    Args:
        engine: where to look.
        given: an id, the beginning of one, ``@latest``; None is right where there is just one.

    Raises:
        NotFoundError: there is none; AmbiguousIdError: there are several.
        UsageError: none is named, and there are several.
    """
    if given is None:
        ids = engine.instance_ids("", 2)
        if len(ids) == 1:
            return ids[0]
        if not ids:
            raise NotFoundError("there are no process instances here.")
        raise UsageError("which process instance?", "Give an id, the beginning of one, or @latest.")
    if given == LATEST:
        latest = engine.latest_instance_id()
        if latest is None:
            raise NotFoundError("there are no process instances here, so none is the latest.")
        return latest
    if given.startswith("@"):
        raise UsageError(f"'{given}' names no instance{suggest(given, [LATEST])}.", "@latest is the newest one.")
    ids = engine.instance_ids(given, SHOWN + 1)
    if given and not ids:
        engine.instance(given)  # which knows best why there is none
    if not ids or not given:
        raise NotFoundError(f"no process instance '{given}'.", "See 'tokctl instances list'.")
    if ids[0] == given or len(ids) == 1:
        return ids[0]
    raise AmbiguousIdError("process instance", given, ids[:SHOWN], more=len(ids) > SHOWN)


def resolve_token(engine: Engine, given: str, instance_id: str | None = None) -> tuple[str, str]:
    """Return (instance id, token id) of the token that is meant, by its id or the beginning of it.

    Raises:
        NotFoundError: there is none; AmbiguousIdError: there are several.
    """
    found = engine.token_ids(given, instance_id, SHOWN + 1) if given else []
    exact = [(instance, token) for instance, token in found if token == given]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    if not found:
        raise NotFoundError(f"no token '{given}'.", "See 'tokctl tokens list INSTANCE'.")
    names = [token if not exact else f"{token} of {instance}" for instance, token in exact or found]
    raise AmbiguousIdError("token", given, names[:SHOWN], more=len(found) > SHOWN)
