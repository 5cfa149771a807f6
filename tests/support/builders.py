"""Short ways to make tokens, instances and documents for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from support.paths import FIXTURES
from tokctl.api_tokens.audit import Actor
from tokctl.documents.base import members
from tokctl.documents.instances import encode_instance
from tokctl.documents.tokens import encode_token
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token

DOCUMENTED = FIXTURES / "documented_tokens.json"
NOON = datetime(2025, 1, 11, 12, 0, tzinfo=UTC)

TESTER = Actor(kind="cli", id="tester", origin="test")


def at(seconds: float) -> datetime:
    """Return a moment so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def raw(value: Any) -> Raw:
    """Return a value as JSON text."""
    return Raw(msgspec.json.encode(value))


def token(token_id: str = "t1", instance_id: str = "i1", **fields: Any) -> Token:
    """Return a token; what is not said is a completed task."""
    for name in ("variables", "execution_context", "flow_history"):
        if name in fields and not isinstance(fields[name], Raw):
            fields[name] = raw(fields[name])
    return Token(
        **{"token_id": token_id, "instance_id": instance_id, "element_id": "task", "state": "COMPLETED"} | fields
    )


def tokens(count: int, instance_id: str = "i1", **fields: Any) -> list[Token]:
    """Return tokens ``t0`` …, a second apart."""
    return [
        token(
            f"t{n}", instance_id, **{"created_at": at(n), "updated_at": at(n + 1), "completed_at": at(n + 1)} | fields
        )
        for n in range(count)
    ]


def instance(instance_id: str = "i1", **fields: Any) -> Instance:
    """Return an instance."""
    return Instance(instance_id=instance_id, **fields)


def token_json(one: Token, *, alone: bool = True) -> str:
    """Return a token as the documented JSON, with its instance when it stands alone."""
    return msgspec.json.encode(encode_token(one, instance=alone)).decode()


def ndjson(several: list[Token]) -> bytes:
    """Return tokens a line each."""
    return "".join(token_json(one) + "\n" for one in several).encode()


def answer(about: Instance, several: list[Token], *, envelope: bool = True, indent: int = 0) -> bytes:
    """Return the documented answer that holds an instance and its tokens."""
    head = {k: v for k, v in members(encode_instance(about)).items() if v is not None and v != raw(None)}
    data = head | {"tokens": [encode_token(one) for one in several]}
    text = msgspec.json.encode({"success": True, "data": data, "request_id": "req_1"} if envelope else data)
    return msgspec.json.format(text, indent=indent) if indent else text


def pieces(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces of a size."""
    return [data[start : start + size] for start in range(0, len(data), size)]
