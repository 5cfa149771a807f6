"""``tokctl auth login``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.asking import ask_password, ask_secret
from tokctl.cli.authorising import Verdict, keyring_of, server_of, try_secret
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.process.model import format_time
from tokctl.render.result import Cell, Detail

if TYPE_CHECKING:
    from tokctl.client import Connection


def login(
    app: App,
    email: Annotated[
        str | None,
        typer.Option(
            metavar="EMAIL",
            help="Log in with a password, and keep the token that the server gives for it.",
            show_default=False,
        ),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the secret, or the password, from stdin.")] = False,
    registry: opt.Registry = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Ask the server whether it accepts the secret.")
    ] = True,
) -> Detail:
    """Put a server's credential into the keyring, once the server has accepted it.

    The secret is asked for without echo, or read from stdin; it is shown nowhere. Where there is no keyring, give
    it in TOKCTL_API_KEY, or set the credential of a context to env:NAME, file:PATH or command:WORDS.
    """
    connection = server_of(app, registry=registry)
    keyring = keyring_of(connection)
    keyring.probe()  # before anybody types, and before a server makes a token that would be lost
    if email is None:
        secret = ask_secret(f"API key for {keyring.account}", stdin=stdin)
    else:
        secret = _log_in(connection, email, ask_password(f"Password of {email} for {keyring.account}", stdin=stdin))
    expires = _expiry(secret)
    verdict = try_secret(connection, secret) if verify else Verdict(None)
    if verdict.accepted is False:
        raise NotAllowedError(f"{keyring.account} does not accept that secret (401).", "Nothing was stored.")
    keyring.write(secret)
    if verdict.note:
        app.tell(f"{verdict.note[0].upper()}{verdict.note[1:]}.")
    if passed_over := _goes_before(app, registry=registry):
        app.tell(passed_over)
    until = f" It expires at {format_time(expires)}." if expires else ""
    return Detail(
        ident=keyring.account,
        document={
            "server": keyring.account,
            "stored": "keyring",
            "accepted": verdict.accepted,
            "expires_at": format_time(expires),
        },
        title=(Cell(f"The credential for {keyring.account} is in the keyring.{until}"),),
    )


def _log_in(connection: Connection, email: str, password: str) -> str:
    """Exchange a password for a token.

    Raises:
        NotAllowedError: the server refuses them.
        NotFoundError: it has no login.
        InputError: its answer holds no token.
    """
    from tokctl.client import Client
    from tokctl.vaults.base import first_line

    if not email.strip():
        raise UsageError("--email is empty.", "Give the address that the server knows you by.")
    document = {"email": email.strip(), "password": password}
    with Client(connection) as client:
        answer = client.post(("api", "auth", "login"), document, authorised=False, accept=(400, 401, 403, 404))
    # One that asks for a token even here, as ours does, was not looking at the password.
    wants_token = answer.status == 401 and answer.headers.get("www-authenticate", "").lower().startswith("bearer")
    if answer.status == 404 or wants_token:
        raise NotFoundError(f"{connection.url} has no login for users.", "Leave --email out, and give an API key.")
    if answer.status >= 400:
        raise NotAllowedError(f"{connection.url} refuses that address and password.", "Nothing was stored.")
    try:
        token = msgspec.json.decode(answer.body, type=dict[str, Any]).get("jwt")
    except (msgspec.DecodeError, UnicodeError):
        token = None
    if not isinstance(token, str):
        raise InputError(f"{connection.url} gave no token for the password.", "Leave --email out, and give an API key.")
    return first_line(token.encode(), "the token that the server gave")


def _expiry(secret: str) -> datetime | None:
    """When a secret that is a JWT says that it ends. Nothing else is taken from it, and nothing checked."""
    from base64 import urlsafe_b64decode

    parts = secret.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, Any])
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def _goes_before(app: App, *, registry: bool) -> str:
    """What is nearer than the keyring, so that the new credential will not be used."""
    from tokctl.vaults.credentials import shown

    field = "registry_credential" if registry and app.settings.registry_server else "credential"
    place = getattr(app.settings, field)
    if place is None or place == "keyring":
        return ""
    return f"It is not used as long as {shown(place)} goes before it ({app.settings.origins[field]})."


app = command(
    login,
    takes=(*opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl auth login --server https://engine.example:27555",
        "pass show engine | tokctl auth login --context prod --stdin",
        "tokctl auth login --email me@example.org",
    ),
)
