"""Strapi 5: API tokens of its content API, managed by an administrator's session over its admin API.

Seen on Strapi 5.54.0. A session lasts 30 minutes, and an API token cannot manage others. Expiries are lifespans of a
few lengths and never change. A secret is replaced in place, without a grace period. A server with an encryption key
shows the secret of a single API token again, so single ones are taken from the list, which never has secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from tokctl.api_tokens.registries.capabilities import RegistryCapabilities
from tokctl.api_tokens.registries.documents import find_differences, format_differences
from tokctl.api_tokens.registries.protocol import (
    ApiTokenSpec,
    CreatedToken,
    CreationOutcomeUnknownError,
    Registry,
    UnsupportedChangeError,
    VerificationResult,
    check_fields,
)
from tokctl.api_tokens.registries.server import SHOW_HINT, ServerRegistry
from tokctl.api_tokens.registries.server_kind import (
    LOGIN_HINT,
    ServerKind,
    json_object,
    login_refused_error,
    no_login_error,
    no_token_error,
)
from tokctl.api_tokens.vaults.credentials import jwt_expiry
from tokctl.capabilities import Capability, Support
from tokctl.client import Client, ClientResponse, Connection, decode_json
from tokctl.client.connection import CredentialProbe
from tokctl.client.json_responses import WRONG_ADDRESS_HINT
from tokctl.documents.api_tokens import decode_api_token
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.model.api_tokens import CUSTOM, EXPIRED, FULL_ACCESS, READ_ONLY, UNKNOWN, VALID, ApiToken
from tokctl.text import one_line, suggest

ADMIN_TOKENS = ("admin", "api-tokens")
LIFESPANS = tuple(timedelta(days=days) for days in (7, 30, 90))
"""How long API tokens can last, unless they never expire."""
TOLERANCE = timedelta(minutes=5)
"""How far a requested expiry may be from a lifespan that begins now: a command may wait for a keyring or a prompt."""
CONTENT_PATHS = (("api", "i18n", "locales"), ("api", "users", "me"), ("api", "upload", "files"))
"""Resources of the plugins that Strapi comes with; each requires a valid secret."""
_SECRET = re.compile(r"[0-9A-Za-z]{32,1024}")
_NOT_KEPT = ("accessKey", "encryptedKey", "permissions")
_YES = Capability(Support.YES)


class StrapiKind(ServerKind):
    """Strapi 5."""

    name = "strapi"
    capabilities = RegistryCapabilities(
        title="Strapi 5",
        login=Capability(Support.YES, "an administrator's; the session lasts 30 minutes, 5 logins within 5 minutes"),
        token_access=Capability(Support.NO, "only an administrator's session may"),
        scopes=Capability(Support.PARTLY, "permissions of the content API; the type is custom then"),
        restricted_types=_YES,
        free_expiry=Capability(Support.PARTLY, "7, 30 or 90 days after the creation, or never"),
        change_expiry=Capability(Support.NO, "rotate does not extend it, either"),
        clear_fields=Capability(Support.PARTLY, "the description"),
        grace=Capability(
            Support.NO, "rotate replaces the secret of the same API token: the old one is invalid at once"
        ),
        unique_names=_YES,
        pages=Capability(Support.NO, "the server sends all, and tokctl sorts them"),
        masks=Capability(Support.NO, "secrets have no prefix, so mask and scan cannot find them"),
        last_use=Capability(Support.YES, "to the hour"),
        introspection=Capability(Support.NO, "a check is a request to /api, which counts as a use"),
        expired_secrets=_YES,
    )
    probe = CredentialProbe(("admin", "users", "me"))
    address_endings = ("/admin/api-tokens", "/admin/auth/login", "/admin", "/api")

    def recognizes(self, answer: ClientResponse) -> bool:
        """Return whether the server says that it is Strapi, or an error has Strapi's form."""
        if answer.headers.get("x-powered-by", "").startswith("Strapi"):
            return True
        document = json_object(answer)
        error = document.get("error")
        return (
            document.get("data", error) is None
            and isinstance(error, dict)
            and error.get("name") in {"NotFoundError", "UnauthorizedError", "ForbiddenError"}
        )

    def open(self, connection: Connection, clock: Callable[[], datetime], warn: Callable[[str], object]) -> Registry:
        """Return the registry of a server."""
        return StrapiRegistry(connection, self, clock, warn)

    def log_in(self, client: Client, email: str, password: str) -> str:
        """Exchange the password of an administrator for a JWT and return it. Strapi says 400 to a wrong one."""
        answer = client.post(
            ("admin", "login"),
            {"email": email, "password": password},
            with_credential=False,
            accept=(400, 401, 403, 404, 405, 429),
        )
        if answer.status in {404, 405}:
            raise no_login_error(client)
        if answer.status == 429:
            from tokctl.client.retries import parse_rate_limit_reset

            wait = parse_rate_limit_reset(answer.headers)
            until = "a few minutes" if wait is None else f"{wait:.0f} s"
            raise NotAllowedError(
                f"{client.connection.url} accepts no more logins for now (429): at most 5 within 5 minutes for an "
                "email address. Nothing was saved.",
                f"Try again in {until}.",
            )
        if answer.status >= 400:
            raise login_refused_error(client)
        data = json_object(answer).get("data")
        token = data.get("token") if isinstance(data, dict) else None
        if not isinstance(token, str):
            raise no_token_error(client)
        return token

    def rejection_hint(self, secret: str | None) -> str:
        """Return what to do after a 401: sessions end, and API tokens are never accepted."""
        if not secret:
            return "Log in as an administrator with 'tokctl auth login --email EMAIL'."
        if jwt_expiry(secret) is None:
            return (
                "Strapi lets only an administrator's session manage API tokens. "
                "Log in with 'tokctl auth login --email EMAIL'."
            )
        return super().rejection_hint(secret) or f"The session was ended. {LOGIN_HINT}"

    def state_of_rejected(self, detail: str) -> str:
        """Strapi says "Token expired" of an expired secret."""
        return EXPIRED if "expired" in detail.lower() else UNKNOWN


class StrapiRegistry(ServerRegistry):
    """The API tokens of a Strapi server."""

    types = (READ_ONLY, FULL_ACCESS, CUSTOM)
    default_scopes = ()

    # --- reading ---

    def list(self) -> Iterator[ApiToken]:
        """Yield all API tokens, the newest first: Strapi sends all of them, sorted by name."""
        try:
            answer = self.client.get(ADMIN_TOKENS)
        except NotFoundError as error:
            raise self._no_tokens_error(error) from None
        rows = decode_json(answer, dict[str, Any]).get("data")
        if not isinstance(rows, list):
            raise InputError(f"{answer.url}: $.data is not a list.", WRONG_ADDRESS_HINT)
        tokens = [_decode_record(row, f"{answer.url}: $.data[{number}]") for number, row in enumerate(rows)]
        yield from sorted(tokens, key=lambda one: (one.created_at, _number(one.id)), reverse=True)

    def get(self, token_id: str) -> ApiToken:
        """Return an API token by its id, from the list: a request for a single one may return its secret."""
        for token in self.list():
            if str(token.id) == token_id:
                return token
        raise self._not_found_error(token_id)

    def check_scopes(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return permissions of the content API, each once. Raises UsageError: the server does not know one."""
        wanted = [*dict.fromkeys(name.strip() for name in names)]
        if not wanted:
            return ()
        known = self._fetch_permissions()
        for name in wanted:
            if name not in known:
                raise UsageError(
                    f"{self.where} has no permission '{one_line(name, 100)}'{suggest(name, known)}.",
                    f"Valid: {', '.join(known)}.",
                )
        return tuple(wanted)

    def fit_type(self, name: str, scopes: Sequence[str]) -> str:
        """Return the type: custom with scopes. Raises UnsupportedChangeError: they exclude each other."""
        return str(_choose_type({"type": name, "scopes": tuple(scopes) or None})["type"])

    def check_expiry(self, expires_at: datetime | None) -> datetime | None:
        """Return when a new API token can expire. Raises UnsupportedChangeError: no lifespan ends at this time."""
        self._find_lifespan(expires_at)
        return expires_at

    def _fetch_permissions(self) -> tuple[str, ...]:
        answer = self.client.get(("admin", "content-api", "permissions"))
        document = decode_json(answer, dict[str, dict[str, dict[str, dict[str, tuple[str, ...]]]]])
        return tuple(
            f"{owner}.{controller}.{action}"
            for owner, parts in document.get("data", {}).items()
            for controller, actions in parts.get("controllers", {}).items()
            for action in actions
        )

    # --- changing ---

    def create(self, spec: ApiTokenSpec) -> CreatedToken:
        """Create an API token. One that differs from the request, or has no usable secret, is revoked at once."""
        check_fields(self, ("allowed_cidrs",) if spec.allowed_cidrs else ())
        values = _choose_type({"type": self.check_type(spec.type), "scopes": spec.scopes})
        lifespan = self._find_lifespan(spec.expires_at)
        document = {
            "name": spec.name,
            "description": spec.description or "",
            "lifespan": None if lifespan is None else lifespan // timedelta(milliseconds=1),
            **_encode_changes(values),
        }
        with self._translate_lost_answers("Check with 'tokctl api-tokens list' whether it was created."):
            answer = self.client.post(ADMIN_TOKENS, document)
        number, secret, record = _decode_created(answer)
        if number is None:
            raise CreationOutcomeUnknownError(f"{answer.url}: cannot read the server's response to the creation.")
        token = None
        try:
            token = _decode_record(record, answer.url)
        except InputError as error:
            raise self._revoke_unusable(number, spec, f"that cannot be read ({error.message})") from None
        if secret is None:
            raise self._revoke_unusable(number, spec, "without a usable secret")
        if wrong := find_differences(values, token) + _expiry_difference(spec.expires_at, token):
            wanted = {**values, "expires_at": spec.expires_at}
            how = f"that differs from the request ({format_differences(wrong, wanted, token)})"
            raise self._revoke_unusable(number, spec, how)
        return CreatedToken(token, secret)

    def update(self, token_id: str, changes: Mapping[str, Any]) -> ApiToken:
        """Change fields of an API token; only those are sent."""
        check_fields(self, changes)
        token = self.get(token_id)
        changes = {name: value for name, value in changes.items() if value or getattr(token, name)}
        if "expires_at" in changes:
            raise UnsupportedChangeError(
                f"{self.where} cannot change the expiry of an API token.",
                "Nothing was changed. Create another API token, and revoke this one.",
            )
        if "type" in changes:
            self.check_type(changes["type"])
        if changes.get("type") == CUSTOM == token.type:
            changes.setdefault("scopes", token.scopes)
        if not changes:
            return token
        changes = _choose_type(changes)
        with self._translate_lost_answers(SHOW_HINT.format(token_id)):
            answer = self.client.put((*ADMIN_TOKENS, token_id), _encode_changes(changes), accept=(404,))
        if answer.status == 404:
            raise self._not_found_error(token_id)
        try:
            updated = _decode_record(json_object(answer).get("data"), answer.url)
        except InputError as error:
            raise CreationOutcomeUnknownError(error.message, SHOW_HINT.format(token_id)) from None
        if wrong := find_differences(changes, updated):
            how = format_differences(wrong, changes, updated)
            raise UnsupportedChangeError(f"{self.where} did not change API token {token_id} as requested ({how}).")
        return updated

    def regenerate(self, token_id: str) -> CreatedToken:
        """Replace the secret of an API token. Its expiry stays, so an expired one is refused."""
        token = self.get(token_id)
        if token.state(self.clock()) == EXPIRED:
            raise UnsupportedChangeError(
                f"API token {token_id} has expired, and a new secret would not extend it.",
                "Nothing was changed. Create another API token, and revoke this one.",
            )
        with self._translate_lost_answers(SHOW_HINT.format(token_id)):
            answer = self.client.post((*ADMIN_TOKENS, token_id, "regenerate"), {}, accept=(404,))
        if answer.status == 404:
            raise self._not_found_error(token_id)
        number, secret, _ = _decode_created(answer)
        if number != token_id or secret is None:
            raise CreationOutcomeUnknownError(f"{answer.url}: cannot read the new secret in the server's response.")
        return CreatedToken(token, secret)

    def revoke(self, token_id: str, *, reason: str = "") -> None:
        """Delete an API token."""
        if str(_number(token_id)) != token_id:  # the server may read 07 as 7
            raise self._not_found_error(token_id)
        self._delete(token_id, reason)

    def _delete(self, token_id: str, reason: str) -> None:  # noqa: ARG002 - there is no audit
        with self._translate_lost_answers(SHOW_HINT.format(token_id)):
            answer = self.client.delete((*ADMIN_TOKENS, token_id), accept=(404,))
        if answer.status == 404 or json_object(answer).get("data", answer) is None:  # how it says that there was none
            raise self._not_found_error(token_id)

    def _find_lifespan(self, expires_at: datetime | None) -> timedelta | None:
        """Return the lifespan that ends at a time; None for never. Raises UnsupportedChangeError: there is none."""
        if expires_at is None:
            return None
        left = expires_at - self.clock()
        for lifespan in LIFESPANS:
            if abs(left - lifespan) <= TOLERANCE:
                return lifespan
        shorter = [f"{one.days}d" for one in LIFESPANS if one < left][-1:]
        longer = [*(f"{one.days}d" for one in LIFESPANS if one > left), "never"][:1]
        raise UnsupportedChangeError(
            f"API tokens of {self.where} expire after 7, 30 or 90 days, or never.",
            f"Nothing was created. The nearest: {' or '.join(shorter + longer)}.",
        )

    # --- verifying secrets ---

    def verify(self, secret: str) -> VerificationResult:
        """Return the state of a secret by using it. Strapi does not tell whose it is."""
        if not _SECRET.fullmatch(secret):
            return VerificationResult(state=UNKNOWN)
        with self._client_of(secret) as client:
            for segments in CONTENT_PATHS:
                answer = client.get(segments, accept=(401, 403, 404))
                if answer.status != 404:
                    return VerificationResult(state=self._judge(answer))
        raise InputError(
            f"{self.where} has none of the resources under /api that a secret is checked with.",
            "Enable one of Strapi's plugins i18n, users-permissions and upload.",
        )

    def _judge(self, answer: ClientResponse) -> str:
        """Return the state of the secret that a request was sent with."""
        from tokctl.client.failures import parse_error_body

        if answer.status == 200:
            return VALID
        error = parse_error_body(answer.body, answer.headers, answer.mask_secrets)
        if error.code not in {"ForbiddenError", "UnauthorizedError"}:  # something between the server and here
            raise NotAllowedError(f"{answer.url} is not allowed{error.detail} ({answer.status}).")
        return VALID if answer.status == 403 else self._kind.state_of_rejected(error.message)


# --- documents ---


def _decode_record(value: Any, where: str) -> ApiToken:
    """Decode an API token. A secret in it is dropped; permissions are the scopes of type custom only."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an API token.", WRONG_ADDRESS_HINT)
    known = {name: member for name, member in value.items() if name not in _NOT_KEPT}
    token = decode_api_token({**known, "scopes": value.get("permissions")}, where)
    return replace(token, scopes=token.scopes if token.type == CUSTOM else None)


def _decode_created(answer: ClientResponse) -> tuple[str | None, str | None, Any]:
    """Return the id, the secret and the record of a response; the first two are None if they are unusable.

    Never raises, so that no error quotes the secret.
    """
    record = json_object(answer).get("data")
    if not isinstance(record, dict):
        return None, None, None
    number, secret = record.get("id"), record.get("accessKey")
    if isinstance(number, bool) or not isinstance(number, int | str) or number == "":
        return None, None, None
    usable = isinstance(secret, str) and _SECRET.fullmatch(secret)
    return str(number), secret if usable else None, record


def _choose_type(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes in which type and scopes fit: scopes and type custom need each other.

    Raises UnsupportedChangeError.
    """
    wanted = {name: value for name, value in changes.items() if value is not None or name == "description"}
    if not wanted.get("scopes"):
        if wanted.get("type") == CUSTOM or ("scopes" in changes and changes["scopes"] is not None):
            raise UnsupportedChangeError(
                "API tokens of type custom need scopes.", "Nothing was changed. Give a permission as scope."
            )
        return wanted
    if wanted.get("type") == FULL_ACCESS:
        raise UnsupportedChangeError(
            "API tokens of type full-access have no scopes.", "Nothing was changed. Remove the scopes or the type."
        )
    return {**wanted, "type": CUSTOM}


def _encode_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    document = {name: value for name, value in changes.items() if name in {"name", "type"}}
    if "description" in changes:
        document["description"] = changes["description"] or ""
    if "scopes" in changes:
        document["permissions"] = [*changes["scopes"]]
    return document


def _expiry_difference(wanted: datetime | None, token: ApiToken) -> list[str]:
    found = token.expires_at
    if wanted is None or found is None:
        return [] if wanted is found else ["expires_at"]
    return [] if abs(wanted - found) <= 2 * TOLERANCE else ["expires_at"]


def _number(token_id: int | str) -> int:
    text = str(token_id)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1


KIND = StrapiKind()
