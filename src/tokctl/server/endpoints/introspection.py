"""Whose a secret is, and whether it is good: for other services (RFC 7662)."""

from __future__ import annotations

from typing import Any

from tokctl.access.model import UNKNOWN, VALID, ApiToken
from tokctl.process.model import EPOCH
from tokctl.server.authorise import LONGEST
from tokctl.server.bodies import IntrospectionBody, IntrospectionForm
from tokctl.server.operations import Call, Operations, Reply
from tokctl.server.routes import API_TOKENS, Operation, Resource

PERMISSIONS = ("introspect", "api-tokens")


async def _introspect(operations: Operations, call: Call) -> Reply:
    body: IntrospectionBody | IntrospectionForm = call.body
    secret, caller = body.token.encode(), call.caller
    token = operations.authority.find(secret) if len(secret) <= LONGEST else None
    state = UNKNOWN if token is None else token.state(call.now)
    about_itself = token is not None and caller.token is not None and caller.token.id == token.id
    if not about_itself:
        caller.check_method("POST")
        caller.check_permission(PERMISSIONS)
    used = {one.id: one for one in (caller.token, token if state == VALID else None) if one is not None}
    if token is not None and not body.is_use:
        used.pop(token.id, None)
    for one in used.values():
        operations.app.usage.note(one, call.now)
    if token is not None and state == VALID:
        return Reply({"active": True} | _facts(token))
    told: dict[str, Any] = {"active": False}
    if caller.manages:  # he may list them anyway
        told["state"] = state
        if token is not None:
            told |= _facts(token)
    return Reply(told)


def _facts(token: ApiToken) -> dict[str, Any]:
    told: dict[str, Any] = {
        "scope": " ".join(token.scopes or ()),
        "client_id": str(token.id),
        "token_type": "Bearer",
    }
    if token.expires_at is not None:
        told["exp"] = int((token.expires_at - EPOCH).total_seconds())
    told["iat"] = int((token.created_at - EPOCH).total_seconds())
    by = token.created_by
    if by is not None and by.id is not None:
        told["sub"] = str(by.id)
    return told | {"id": token.id, "name": token.name, "type": token.type}


INTROSPECT = Resource(
    path=f"{API_TOKENS}/introspect",
    operations={
        "POST": Operation(
            name="introspectApiToken",
            text="Whether a secret is that of a valid API token, and which one's. Every API token may ask about "
            "itself; about others, a full-access one. Who may list API tokens is told the state of those that are "
            "not valid.",
            schema="Introspection",
            permissions=PERMISSIONS,
            query_like=True,
            body=IntrospectionBody,
            form=IntrospectionForm,
            run=_introspect,
        )
    },
)
