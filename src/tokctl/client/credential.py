"""The credential of the requests to one server: loaded once, checked, and masked in everything the server sends."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Callable
from urllib.parse import quote

from tokctl.errors import NotAllowedError
from tokctl.server_address import ServerAddress

_SECRET = re.compile("xvc_[0-9a-z]{5,}", re.IGNORECASE)  # more than a masked secret shows


class RequestCredential:
    """The credential for one server. Several threads may use it at once.

    ``load`` returns the secret, or None or an empty text if there is none, and is called once. ``warn`` is called if
    the credential is sent unencrypted.
    """

    def __init__(self, load: Callable[[], str | None], server: ServerAddress, warn: Callable[[str], object]) -> None:
        self._load = load
        self._server = server
        self._warn = warn
        self._lock = threading.Lock()
        self._loaded = False
        self._secret: str | None = None

    def get(self) -> str | None:
        """Return the secret; None if there is none. Raises TokctlError: it cannot be loaded, or sent in a header."""
        with self._lock:
            if not self._loaded:
                secret = self._load() or None
                if secret and not all("!" <= sign <= "~" for sign in secret):
                    raise NotAllowedError(
                        "the credential contains a space or a character that is not allowed in a header.",
                        "Set it again with 'tokctl auth login' or in TOKCTL_API_KEY.",
                    )
                if secret and self._server.scheme == "http" and not self._server.is_local:
                    address = self._server.display_address
                    self._warn(f"the credential is sent unencrypted: {address} does not use https.")
                self._secret, self._loaded = secret, True
            return self._secret

    def mask(self, text: str) -> str:
        """Mask secrets in a text from the server: the credential, also escaped, and everything like it."""
        secret = self._secret
        if secret:
            written = (secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], html.escape(secret))
            text = re.sub("|".join(map(re.escape, written)), "…", text, flags=re.IGNORECASE)
        return _SECRET.sub("xvc_…", text)
