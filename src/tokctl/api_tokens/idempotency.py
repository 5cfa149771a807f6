"""The creation of an API token with an ``Idempotency-Key``: a repeated request gets the same API token and secret.

The header is that of draft-ietf-httpapi-idempotency-key-header. A store keeps no secrets, so the secret of such an API
token is derived from the pepper, the client's key and a random salt. The store keeps a digest of the key, but removes
the salt after ``REPEAT_WINDOW``. From then on the secret cannot be derived again with the pepper, the key and the
store. A later repetition is an error, and never a second API token.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import timedelta

from msgspec import Struct

from tokctl.api_tokens.audit import Actor
from tokctl.api_tokens.secrets import generate
from tokctl.errors import UsageError

IDEMPOTENCY_KEY = "Idempotency-Key"
REPEAT_WINDOW = timedelta(minutes=10)
"""How long after a creation a repeated request gets the secret."""
SALT_BYTES = 32
MIN_KEY_LENGTH, MAX_KEY_LENGTH = 16, 255
_KEY = re.compile(rf"[!#-\[\]-~]{{{MIN_KEY_LENGTH},{MAX_KEY_LENGTH}}}")  # visible ASCII without quotes and backslashes


class CreationKey(Struct, frozen=True):
    """What a store keeps of a creation: the digest of its key, and the salt of its secret. The repr hides the salt."""

    digest: bytes
    salt: bytes

    def __repr__(self) -> str:
        return "CreationKey()"


def parse_key(header: bytes) -> str:
    """Return the key in the header, a quoted string (RFC 8941) or the same text without quotes. Raises UsageError."""
    text = header.decode("latin-1").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not _KEY.fullmatch(text):
        raise UsageError(
            f"{IDEMPOTENCY_KEY} must be {MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} visible ASCII characters without quotes.",
            "Use a new random UUID for each API token.",
        )
    return text


def digest_key(pepper: bytes, caller: Actor, key: str) -> bytes:
    """Return the digest of a key, 32 bytes: the keys of each caller are its own."""
    return hmac.digest(pepper, f"creation\0{caller.kind}\0{caller.id}\0{key}".encode(), "sha256")


def generate_salt() -> bytes:
    """Return a new random salt."""
    return secrets.token_bytes(SALT_BYTES)


def derive_secret(pepper: bytes, salt: bytes, key: str) -> str:
    """Return the secret of a creation: as random as the salt for everyone who lacks one of the three."""
    number = int.from_bytes(hmac.digest(pepper, b"secret\0" + salt + key.encode(), "sha512"))

    def choose(digits: str) -> str:
        nonlocal number
        number, digit = divmod(number, len(digits))
        return digits[digit]

    return generate(choose)
