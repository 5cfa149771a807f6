"""The passwords of PostgreSQL stores: where they are, and whether the databases accept them."""

from __future__ import annotations

import os

from msgspec import Struct

from tokctl.api_tokens.vaults.credentials import format_place
from tokctl.config.settings import STORE_CREDENTIAL
from tokctl.errors import StoreError, UnreachableStoreError

DATABASE_PREFIX = "postgresql:"
LIBPQ_VARIABLE = "PGPASSWORD"


class StorePassword(Struct, frozen=True, kw_only=True):
    """What is known of the password of a store, but not the password itself.

    ``place`` is for messages. ``accepted`` is None if the database was not asked, or cannot be reached.
    """

    store: str
    place: str
    is_found: bool = False
    accepted: bool | None = None
    note: str = ""
    advice: str = ""


def is_in_database(store: str | None) -> bool:
    """Tell whether the place of a store is the URL of a database."""
    return store is not None and store.startswith(DATABASE_PREFIX)


def check_store_password(url: str, *, check: bool = True, in_use: bool = True) -> StorePassword:
    """Find the password of a store, and connect to its database if ``check``.

    The environment has a password, or its place, for the store that is ``in_use``: no other database gets it.

    Raises UsageError: the URL is invalid, or a package is missing.
    """
    from tokctl.store.postgresql import account_name, check_password
    from tokctl.store.postgresql.passwords import find_password, find_place, find_saved_password

    store = account_name(url)
    place, password = find_place(url, in_use=in_use), None
    try:
        if place is not None:
            password = find_password(url, store)
        elif in_use and os.environ.get(LIBPQ_VARIABLE):
            place, password = f"env:{LIBPQ_VARIABLE}", os.environ[LIBPQ_VARIABLE]
        else:
            place, password = "keyring", find_saved_password(store)
    except StoreError as error:
        return StorePassword(store=store, place=format_place(place), note=error.message, advice=error.hint)
    accepted, note, advice = None, "" if password is not None else "no password", ""
    is_for_another = not in_use and any(map(os.environ.get, (STORE_CREDENTIAL, LIBPQ_VARIABLE)))
    if check and not (password is None and is_for_another):
        try:
            is_required = check_password(url, password)
            accepted = True
            if not is_required:
                note = "the database requires no password"
            elif password is None:
                note = "the password is in a file of libpq"
        except StoreError as error:
            accepted = None if isinstance(error, UnreachableStoreError) else False
            note, advice = error.message, error.hint
    return StorePassword(
        store=store,
        place=format_place(place),
        is_found=password is not None,
        accepted=accepted,
        note=note,
        advice=advice,
    )
