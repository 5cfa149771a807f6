"""URLs of stores in databases: they contain no password."""

from __future__ import annotations

from tokctl.errors import UsageError

_SECRET_PARAMETERS = frozenset({"password", "sslpassword", "oauth_client_secret"})


def refuse_password(store: str) -> str:
    """Return the path or the URL of a store. Raises UsageError for one with a password, which it does not repeat."""
    _, is_url, rest = store.partition("://")
    if is_url:
        from urllib.parse import parse_qsl

        place, _, parameters = rest.partition("?")
        # A password may contain "?" for libpq, and "/" for those who forget that it has to be encoded.
        users = rest.partition("/")[0].rpartition("@")[0], place.rpartition("@")[0]
        names = {name for name, _ in parse_qsl(parameters, keep_blank_values=True)}
        if any(":" in user for user in users) or not names.isdisjoint(_SECRET_PARAMETERS):
            raise UsageError(
                "the URL of the store contains a password, which others can see.",
                "Remove it, and save it with 'tokctl auth login --store URL', in PGPASSWORD or in ~/.pgpass.",
            )
    return store
