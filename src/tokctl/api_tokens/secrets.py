"""The secret of an API token: its format, its mask, its digest.

A secret is ``xvc_``, 34 random base62 characters (202 bits) and their checksum: 6 base62 characters, the CRC32 of
everything before. The checksum lets a scan for leaked secrets be certain. It never rejects a secret: those of other
servers have none.
"""

from __future__ import annotations

import hmac
import secrets
import zlib
from collections.abc import Callable
from hashlib import sha256

PREFIX = "xvc_"
RANDOM_LENGTH = 34  # characters
CHECKSUM_LENGTH = 6
MASK_LENGTH = 8  # characters of a secret that its mask shows
MASK_END = "..."
BASE62_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def generate(choice: Callable[[str], str] = secrets.choice) -> str:
    """Return a new secret. ``choice`` picks a random character of a text."""
    body = PREFIX + "".join(choice(BASE62_DIGITS) for _ in range(RANDOM_LENGTH))
    return body + checksum(body)


def checksum(text: str) -> str:
    """Return the CRC32 of a text as six base62 characters."""
    number = zlib.crc32(text.encode())
    found = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(BASE62_DIGITS))
        found = BASE62_DIGITS[digit] + found
    return found


def is_tokctl_secret(text: str) -> bool:
    """Return whether a text is a secret made by tokctl: its format and its checksum are right."""
    body, check = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return (
        len(text) == len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH
        and text.startswith(PREFIX)
        and check == checksum(body)
    )


def mask(secret: str) -> str:
    """Return the mask of a secret, which may be shown: its first 8 characters and ``...``."""
    return secret[:MASK_LENGTH] + MASK_END


def digest(pepper: bytes, secret: str) -> bytes:
    """Return what a store keeps of a secret: its HMAC-SHA256 with the pepper as key, 32 bytes."""
    return hmac.digest(pepper, secret.encode(errors="surrogateescape"), "sha256")


def fingerprint(secret: str) -> str:
    """Return what the ledger keeps of a secret: its SHA-256, 64 hexadecimal digits."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()
