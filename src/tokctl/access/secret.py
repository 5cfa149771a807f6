"""The secret of an API token: its format, its mask, its digest.

``xvc_``, 34 base62 characters at random (202 bits), and 6 more: the CRC32 of all before them. The
checksum makes a search for leaked secrets certain; it never judges the secret of another server.
"""

from __future__ import annotations

import hmac
import secrets
import zlib
from collections.abc import Callable

PREFIX = "xvc_"
RANDOM = 34  # characters
CHECKSUM = 6
SHOWN = 8  # characters that a mask shows
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def generate(choice: Callable[[str], str] = secrets.choice) -> str:
    """Return a new secret; ``choice`` picks a character at random."""
    body = PREFIX + "".join(choice(DIGITS) for _ in range(RANDOM))
    return body + checksum(body)


def checksum(text: str) -> str:
    """Return the CRC32 of a text in base62, six characters."""
    number = zlib.crc32(text.encode())
    found = ""
    for _ in range(CHECKSUM):
        number, digit = divmod(number, len(DIGITS))
        found = DIGITS[digit] + found
    return found


def is_ours(text: str) -> bool:
    """Tell whether a text is a secret that this program made: format and checksum are right."""
    body, check = text[:-CHECKSUM], text[-CHECKSUM:]
    return len(text) == len(PREFIX) + RANDOM + CHECKSUM and text.startswith(PREFIX) and check == checksum(body)


def mask(secret: str) -> str:
    """Return what may be shown of a secret: its first 8 characters and ``...``."""
    return secret[:SHOWN] + "..."


def digest(pepper: bytes, secret: str) -> bytes:
    """Return what is kept of a secret: its HMAC-SHA256 under the pepper, 32 bytes."""
    return hmac.digest(pepper, secret.encode(errors="surrogateescape"), "sha256")
