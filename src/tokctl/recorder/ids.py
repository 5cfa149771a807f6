"""Ids in the documented format, and variables as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_encode = msgspec.json.Encoder(enc_hook=repr).encode


def make_instance_id(key: str) -> str:
    """Return the id of a process instance: ``srv1-`` and 18 base62 characters drawn from the key."""
    return f"srv1-{_base62(key, 18)}"


def make_token_id(key: str) -> str:
    """Return the id of a token: ``srv1-token-`` and 12 base62 characters (71 bits) drawn from the key."""
    return f"srv1-token-{_base62(key, 12)}"


def make_job_key(key: str) -> str:
    """Return the key of a job: ``srv1-job-`` and 12 base62 characters drawn from the key."""
    return f"srv1-job-{_base62(key, 12)}"


def _base62(key: str, length: int) -> str:
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest())
    letters = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        letters.append(_BASE62[rest])
    return "".join(letters)


def encode_variables(data: Mapping[Any, Any]) -> Raw:
    """Encode variables as a JSON object; a value that JSON cannot represent is written as its ``repr``."""
    try:
        return Raw(_encode(data))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return Raw(_encode({str(name): _encodable(value) for name, value in data.items()}))


def _encodable(value: Any) -> Any:
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return repr(value)
    return value
