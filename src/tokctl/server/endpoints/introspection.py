"""Token introspection for other services (RFC 7662)."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from tokctl.documents.api_tokens import Introspection
from tokctl.model.api_tokens import UNKNOWN, VALID, ApiToken
from tokctl.model.times import EPOCH
from tokctl.server.authentication import MAX_CREDENTIAL_BYTES
from tokctl.server.endpoint import DocumentResponse, Endpoint, Query, Response
from tokctl.server.request import API_TOKENS_PATH
from tokctl.server.request_bodies import IntrospectionBody, IntrospectionForm
from tokctl.server.services import Services

PERMISSIONS = ("introspect", "api-tokens")


async def _introspect(services: Services, query: Query) -> Response:
    body: IntrospectionBody | IntrospectionForm = query.body
    secret, caller = body.token.encode(), query.authenticated
    token = None
    if len(secret) <= MAX_CREDENTIAL_BYTES:
        token = await services.authenticator.find_token(secret, perf_counter())
    state = UNKNOWN if token is None else token.state(query.now)
    about_itself = token is not None and caller.token is not None and caller.token.id == token.id
    if not about_itself:
        caller.check_method("POST")
        caller.check_permission(PERMISSIONS)
    used = {one.id: one for one in (caller.token, token if state == VALID else None) if one is not None}
    if token is not None and not body.is_use:
        used.pop(token.id, None)
    for one in used.values():
        services.usage.record_use(one, *query.use)
    if token is not None and state == VALID:
        return DocumentResponse(Introspection(active=True, **_describe_token(token)))
    if not caller.can_manage_tokens:
        return DocumentResponse(Introspection(active=False))
    facts = {} if token is None else _describe_token(token)  # a caller that may list API tokens can see them anyway
    return DocumentResponse(Introspection(active=False, state=state, **facts))


def _describe_token(token: ApiToken) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "scope": " ".join(token.scopes or ()),
        "client_id": str(token.id),
        "token_type": "Bearer",
    }
    if token.expires_at is not None:
        facts["exp"] = int((token.expires_at - EPOCH).total_seconds())
    facts["iat"] = int((token.created_at - EPOCH).total_seconds())
    by = token.created_by
    if by is not None and by.id is not None:
        facts["sub"] = str(by.id)
    if token.allowed_cidrs:
        facts["allowed_cidrs"] = [*token.allowed_cidrs]
    return facts | {"id": token.id, "name": token.name, "type": token.type}


INTROSPECT = Endpoint(
    path=f"{API_TOKENS_PATH}/introspect",
    method="POST",
    name="introspectApiToken",
    text="Check whether a secret belongs to a valid API token, and to which one. Every API token can check itself; "
    "other secrets need a full-access one. Callers that may list API tokens also get the state of invalid ones.",
    schema="Introspection",
    permissions=PERMISSIONS,
    authorizes_itself=True,
    body=IntrospectionBody,
    form=IntrospectionForm,
    handler=_introspect,
)
