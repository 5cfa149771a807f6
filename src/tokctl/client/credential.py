"""The credential of the requests to one server: loaded once, checked, and masked in everything the server sends."""

from __future__ import annotations

import html
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from urllib.parse import quote

from tokctl.errors import NotAllowedError
from tokctl.model.durations import format_duration
from tokctl.model.times import parse_time
from tokctl.server_address import ServerAddress

_SECRET = re.compile("xvc_[0-9a-z]{5,}", re.IGNORECASE)  # more than a masked secret shows
LOGIN_HINT = "Set them with 'tokctl auth login --user NAME'."
"""What to do about a user name or a password that is missing or wrong."""
LOCKED_HINT = "After a wrong password, some servers also reject the right one for a while."


class SharedCredential:
    """A credential that several clients may share, in any threads: calling it returns the secret, or None.

    ``load`` returns the secret, or None or an empty text if there is none; it is called until it succeeds once. A
    password that the server has rejected is never sent again, as each attempt with a wrong one may lock the user.
    """

    def __init__(self, load: Callable[[], str | None]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._loaded = False
        self._secret: str | None = None
        self._accepted = False
        self._rejected = False
        self._announced = False

    def __call__(self) -> str | None:
        """Return the secret; None if there is none. Raises TokctlError: it cannot be loaded."""
        with self._lock:
            if not self._loaded:
                self._secret, self._loaded = self._load() or None, True
            return self._secret

    def is_first_announcement(self) -> bool:
        """Return whether the user has not yet been told when it expires; true only once."""
        with self._lock:
            first, self._announced = not self._announced, True
            return first

    @contextmanager
    def password_attempt(self, place: str) -> Iterator[None]:
        """Send one request with a password; until the server has accepted the password, only one at a time.

        Raises NotAllowedError: the server, whose address is ``place``, has rejected it before.
        """
        if self._accepted:
            yield
            return
        with self._turn:
            self.refuse_rejected(place)
            yield

    def refuse_rejected(self, place: str) -> None:
        """Raise NotAllowedError if the server, whose address is ``place``, has rejected the password."""
        if self._rejected:
            raise NotAllowedError(
                f"{place} rejected the user name or the password; they are not sent again.", LOCKED_HINT
            )

    def note_password_result(self, status: int) -> None:
        """Note the status of a response to a request with the password."""
        if status == 401:
            self._accepted, self._rejected = False, True
        elif status < 500:
            self._accepted = True


class RequestCredential:
    """The credential for one server. Several threads may use it at once.

    ``load`` returns the secret; a ``SharedCredential`` is shared with other clients. With ``basic`` a secret of the
    form ``user:password`` is for HTTP Basic authentication (RFC 7617). ``warn`` is called if the credential is sent
    unencrypted, or expires soon.
    """

    def __init__(
        self,
        load: Callable[[], str | None],
        server: ServerAddress,
        warn: Callable[[str], object],
        *,
        basic: bool = False,
    ) -> None:
        self.shared = load if isinstance(load, SharedCredential) else SharedCredential(load)
        self._server = server
        self._warn = warn
        self._basic = basic
        self._lock = threading.Lock()
        self._checked = False
        self._secret: str | None = None

    def get(self) -> str | None:
        """Return the secret; None if there is none. Raises TokctlError: it cannot be loaded, or sent in a header."""
        with self._lock:
            if not self._checked:
                secret = self.shared()
                if secret and not self._is_sendable(secret):
                    raise NotAllowedError(
                        "the credential contains a space or a character that is not allowed in a header.",
                        "Set it again with 'tokctl auth login' or in TOKCTL_API_KEY.",
                    )
                if secret and self._server.scheme == "http" and not self._server.is_local:
                    address = self._server.display_address
                    self._warn(f"the credential is sent unencrypted: {address} does not use https.")
                self._secret, self._checked = secret, True
            return self._secret

    def _is_sendable(self, secret: str) -> bool:
        if self._basic and ":" in secret:
            return secret.isprintable()
        return all("!" <= sign <= "~" for sign in secret)

    @property
    def is_password(self) -> bool:
        """Whether the credential is a user name and a password. Raises as ``get``."""
        return self._basic and ":" in (self.get() or "")

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a request; empty without a credential. Raises as ``get``."""
        secret = self.get()
        if secret is None:
            return {}
        self.shared.refuse_rejected(self._server.display_address)
        if self.is_password:
            return {"Authorization": f"Basic {_encode_password(secret)}"}
        return {"Authorization": f"Bearer {secret}", "X-API-Key": secret}  # some engines read the one, some the other

    def announce_expiry(self, value: str) -> None:
        """Warn once that the credential expires soon, at a time that the server sent (RFC 3339)."""
        with suppress(ValueError):
            expires_at = parse_time(value)
            if expires_at is not None and self.shared.is_first_announcement():
                left = format_duration(max((expires_at - datetime.now(UTC)).total_seconds(), 0))
                self._warn(
                    f"the API token for {self._server.display_address} expires in {left}, at "
                    f"{expires_at:%Y-%m-%d %H:%M} UTC. Create another one, and set it with 'tokctl auth login'."
                )

    def mask(self, text: str) -> str:
        """Mask secrets in a text from the server: the credential, also escaped, and everything like it."""
        if self._secret:
            found = "|".join(re.escape(one) for secret in secret_parts(self._secret) for one in _spellings(secret))
            text = re.sub(found, "…", text, flags=re.IGNORECASE)
        return _SECRET.sub("xvc_…", text)


def wants_password(headers: Mapping[str, str]) -> bool:
    """Tell whether a response with status 401 asks for HTTP Basic authentication."""
    return headers.get("www-authenticate", "").lower().startswith("basic")


def secret_parts(credential: str) -> list[str]:
    """Return what must not be shown of a credential, the longest first: of ``user:password`` also the password."""
    password = credential.partition(":")[2]
    return [*([_encode_password(credential)] if password else []), credential, *([password] if password else [])]


def _encode_password(credential: str) -> str:
    return b64encode(credential.encode("utf-8", "surrogateescape")).decode()


def _spellings(secret: str) -> tuple[str, ...]:
    safely = secret.encode("utf-8", "surrogateescape")
    return secret, quote(safely, safe=""), quote(safely), json.dumps(secret)[1:-1], html.escape(secret)
