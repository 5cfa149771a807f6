"""The password of a database: from the place that the user names, or from the keyring if the server asks for one."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache

from tokctl.config.file import read_configuration
from tokctl.config.settings import STORE_CREDENTIAL
from tokctl.errors import StoreError, TokctlError
from tokctl.verbose_log import trace

DEFAULT_PORT = ":5432"


def account_name(location: str) -> str:
    """Return the account of a store in the keyring: its location without the default port."""
    server, slash, database = location.rpartition("/")
    return f"{server.removesuffix(DEFAULT_PORT)}{slash}{database}"


def find_password(url: str, location: str) -> str | None:
    """Return the password from the place that the configuration or the environment names; None if neither does.

    Raises StoreError: there is none at this place, or it cannot be read.
    """
    place = find_place(url)
    if place is None:
        return None
    try:
        password = _read(place, account_name(location))
    except TokctlError as error:
        raise StoreError(f"cannot read the password of the store {location}: {error.message}", error.hint) from error
    if password is None:
        raise StoreError(
            f"the store {location} has no password in {place.partition(':')[0]}.",
            "Save it with 'tokctl auth login --store URL', or change the credential.",
        )
    return password


def find_saved_password(location: str) -> str | None:
    """Return the password in the keyring; None if it has none, or there is no keyring."""
    from tokctl.api_tokens.vaults.keyring import is_keyring_absent

    with suppress(TokctlError):
        return None if is_keyring_absent(os.environ) else _read("keyring", account_name(location))
    return None


def forget_passwords() -> None:
    """Read passwords again when they are needed next: one was wrong."""
    _read.cache_clear()


def find_place(url: str, *, in_use: bool = True) -> str | None:
    """Return the ``credential`` of a context with this store, or the place in the environment.

    The environment does not name the store: it counts for the one that is ``in_use``.
    """
    configuration = read_configuration(os.environ)
    for name in configuration.contexts:
        values = configuration.section_values(f"contexts.{name}")
        if values.get("store") == url and values.get("credential") is not None:
            return str(values["credential"])
    return (os.environ.get(STORE_CREDENTIAL) or None) if in_use else None


@cache
def _read(place: str, account: str) -> str | None:
    from tokctl.api_tokens.vaults import open_source

    trace("the password of the store %s: looked up in %s", account, place.partition(":")[0])
    return open_source(place, account).read()
