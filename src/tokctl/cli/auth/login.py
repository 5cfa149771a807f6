"""``tokctl auth login``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.api_tokens.vaults.credentials import jwt_expiry
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.auth.common import find_database, open_keyring, open_store_keyring, with_secret
from tokctl.cli.prompts import ask_password, ask_secret
from tokctl.documents.setup import StoredCredential
from tokctl.errors import InputError, NotAllowedError, UsageError
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Detail
from tokctl.render.text import format_zoned_time
from tokctl.services.server_roles import CredentialCheck, check_secret, find_api

if TYPE_CHECKING:
    from tokctl.api_tokens.vaults.keyring import Keyring
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

    With a store in PostgreSQL, save the password of its database.
    """
    if not registry and (url := find_database(app)) is not None:
        if email is not None or user is not None:
            raise UsageError("--email and --user do not apply to a store.", "The user is in its URL.")
        return _log_in_to_store(url, stdin=stdin, verify=verify)
    connection, keyring = open_keyring(app, registry=registry)
    keyring.probe()  # before anybody types, and before a server makes a token that would be lost
    if user is not None:
        secret = _ask_user_password(user, keyring.account, stdin=stdin, email=email)
    elif email is None:
        secret = ask_secret(f"API key for {keyring.account}", stdin=stdin)
    else:
        secret = _log_in(
            app, connection, email, ask_password(f"Password of {email} for {keyring.account}", stdin=stdin)
        )
    expires = jwt_expiry(secret)
    verdict = CredentialCheck(None)
    if verify:
        verdict = check_secret(find_api(with_secret(connection, secret), app.settings, registry=registry))
        if verdict.accepted is None:
            _refuse_unchecked(keyring, secret, verdict.note)
    if verdict.accepted is False:
        raise NotAllowedError(
            f"{keyring.account} rejected the secret (401{verdict.reason}). Nothing was saved.",
            verdict.hint or "Check the secret and the server.",
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


def _log_in_to_store(url: str, *, stdin: bool, verify: bool) -> Detail:
    from tokctl.store.postgresql import check_password

    keyring = open_store_keyring(url)
    keyring.probe()
    password = ask_password(f"Password for {keyring.account}", stdin=stdin)
    is_checked = verify and check_password(url, password)
    keyring.write(password)
    return Detail(
        ident=keyring.account,
        document=StoredCredential(
            server=keyring.account, stored="keyring", accepted=is_checked or None, expires_at=None
        ),
        title=(Cell(f"Saved the password for {keyring.account} in the keyring."),),
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


def _log_in(app: App, connection: Connection, email: str, password: str) -> str:
    """Exchange a password for a credential and return it."""
    from tokctl.api_tokens.registries.detection import find_registry
    from tokctl.api_tokens.vaults.protocol import parse_secret_line
    from tokctl.client import Client

    if not email.strip():
        raise UsageError("--email is empty.", "Give your email address on the server.")
    found = find_registry(connection, app.settings.registry_kind, warn=lambda _: None)
    with Client(found.apply_to(connection)) as client:
        token = found.server_kind.log_in(client, email.strip(), password)
    return parse_secret_line(token.encode(), "the token that the server gave")


def _refuse_unchecked(keyring: Keyring, secret: str, note: str) -> None:
    """Raise NotAllowedError if a secret that could not be checked would replace another one."""
    if keyring.read() not in {None, secret}:
        raise NotAllowedError(
            f"{note[:1].upper()}{note[1:]}. The credential for {keyring.account} in the keyring was kept.",
            "Use --no-verify to replace it without a check.",
        )


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
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl auth login --server https://engine.example:27555",
        "pass show engine | tokctl auth login --context prod --stdin",
        "tokctl auth login --email me@example.org",
        "tokctl auth login --server http://operaton.example:8080 --user demo",
        "tokctl auth login --store postgresql://tokctl_server@db.example/tokctl",
    ),
)
