"""``tokctl auth login``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.auth.common import CredentialCheck, check_secret, find_api, open_keyring
from tokctl.cli.prompts import ask_password, ask_secret
from tokctl.documents.setup import StoredCredential
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Detail
from tokctl.render.text import format_zoned_time

if TYPE_CHECKING:
    from tokctl.client import Connection


def login(
    app: App,
    email: Annotated[
        str | None,
        typer.Option(
            metavar="EMAIL",
            help="Log in with email and password, and save the token that the server returns.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Save a user name and a password, for HTTP Basic authentication (Camunda, Operaton, Flowable).",
            show_default=False,
        ),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the secret or the password from stdin.")] = False,
    registry: opt.Registry = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Check the secret on the server before it is saved.")
    ] = True,
) -> Detail:
    """Save the credential for a server in the keyring, after the server has accepted it.

    Type the secret or the password at the prompt, or pass it on stdin. It is never shown. Without a keyring, use
    TOKCTL_API_KEY, or set the credential of a context to env:NAME, file:PATH or command:WORDS.
    """
    connection, keyring = open_keyring(app, registry=registry)
    keyring.probe()  # before anybody types, and before a server makes a token that would be lost
    if user is not None:
        secret = _ask_user_password(user, keyring.account, stdin=stdin, email=email)
    elif email is None:
        secret = ask_secret(f"API key for {keyring.account}", stdin=stdin)
    else:
        secret = _log_in(connection, email, ask_password(f"Password of {email} for {keyring.account}", stdin=stdin))
    expires = expiry_of(secret)
    verdict = CredentialCheck(None)
    if verify:
        verdict = check_secret(*find_api(connection, app.settings.engine_kind, secret, registry=registry))
    if verdict.accepted is False:
        raise NotAllowedError(
            f"{keyring.account} rejected the secret (401). Nothing was saved.", "Check the secret and the server."
        )
    keyring.write(secret)
    if verdict.note:
        app.notify(f"{verdict.note[0].upper()}{verdict.note[1:]}.")
    if passed_over := _find_override(app, registry=registry):
        app.notify(passed_over)
    until = f" It expires at {format_zoned_time(expires, app.now)}." if expires else ""
    return Detail(
        ident=keyring.account,
        document=StoredCredential(
            server=keyring.account, stored="keyring", accepted=verdict.accepted, expires_at=format_time(expires)
        ),
        title=(Cell(f"Saved the credential for {keyring.account} in the keyring.{until}"),),
    )


def _ask_user_password(user: str, account: str, *, stdin: bool, email: str | None) -> str:
    """Return ``user:password``. Raises UsageError: the user name is invalid; and as ``ask_password``."""
    if email is not None:
        raise UsageError("--user and --email cannot be used together.", "Use one of them.")
    if not user.strip() or ":" in user or not user.isprintable():
        raise UsageError("--user is empty, or contains a colon or a control character.", "Give the name of the user.")
    password = ask_password(f"Password of {user} for {account}", stdin=stdin)
    if not password.isprintable():
        raise InputError("the password contains a control character or is not valid UTF-8.", "Type it again.")
    return f"{user}:{password}"


def _log_in(connection: Connection, email: str, password: str) -> str:
    """Exchange a password for a JWT and return it."""
    from tokctl.api_tokens.vaults.protocol import parse_secret_line
    from tokctl.client import Client

    if not email.strip():
        raise UsageError("--email is empty.", "Give your email address on the server.")
    document = {"email": email.strip(), "password": password}
    with Client(connection) as client:
        answer = client.post(("api", "auth", "login"), document, with_credential=False, accept=(400, 401, 403, 404))
    # A server that asks for a token even here, as tokctl's does, has no login: it did not look at the password.
    wants_token = answer.status == 401 and answer.headers.get("www-authenticate", "").lower().startswith("bearer")
    if answer.status == 404 or wants_token:
        raise NotFoundError(
            f"{connection.url} has no login with email and password.", "Remove --email and use an API key."
        )
    if answer.status >= 400:
        raise NotAllowedError(
            f"{connection.url} rejected the email address and password. Nothing was saved.", "Check them."
        )
    try:
        token = msgspec.json.decode(answer.body, type=dict[str, Any]).get("jwt")
    except (msgspec.DecodeError, UnicodeError):
        token = None
    if not isinstance(token, str):
        raise InputError(f"{connection.url} returned no token.", "Remove --email and use an API key.")
    return parse_secret_line(token.encode(), "the token that the server gave")


def expiry_of(secret: str) -> datetime | None:
    """Return when a secret expires if it is a JWT (claim ``exp``, RFC 7519), else None. Nothing is verified."""
    from base64 import urlsafe_b64decode

    parts = secret.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, Any])
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def _find_override(app: App, *, registry: bool) -> str:
    """Return a note if a setting takes precedence over the keyring, so that the new credential will not be used."""
    from tokctl.api_tokens.vaults.credentials import format_place

    field = "registry_credential" if registry and app.settings.registry_server else "credential"
    place = getattr(app.settings, field)
    if place is None or place == "keyring":
        return ""
    return f"It is not used: {format_place(place)} takes precedence ({app.settings.origins[field]})."


app = command(
    login,
    shared_options=(*opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl auth login --server https://engine.example:27555",
        "pass show engine | tokctl auth login --context prod --stdin",
        "tokctl auth login --email me@example.org",
        "tokctl auth login --server http://operaton.example:8080 --user demo",
    ),
)
