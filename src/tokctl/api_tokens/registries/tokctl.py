"""tokctl's own server: the documented API with scopes, introspection and an audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from tokctl.api_tokens.audit import AuditEntry, ChainHead, decode_entry
from tokctl.api_tokens.registries.capabilities import OWN_CAPABILITIES
from tokctl.api_tokens.registries.documents import ApiTokenPage, decode_verification
from tokctl.api_tokens.registries.server_kind import TOKENS_PATH, IntrospectionAnswer, ServerKind, json_object
from tokctl.client import Client, ClientResponse, decode_json
from tokctl.client.json_responses import wrong_shape_error

INTROSPECT, AUDIT = "introspect", "audit"
AUDIT_PAGE_SIZE = 1000  # entries in an answer
CHALLENGE = 'Bearer realm="tokctl"'
_ERROR_STATUSES = range(400, 600)  # a proxy may answer with any of these


class TokctlKind(ServerKind):
    """Supports every feature but a login with a password."""

    name = "tokctl"
    capabilities = OWN_CAPABILITIES
    has_processes = True
    filters_by_name = True

    def recognizes(self, answer: ClientResponse) -> bool:
        """Return whether the challenge is that of this server, or the list one of this server."""
        if answer.status in {401, 403}:
            return answer.headers.get("www-authenticate", "").startswith(CHALLENGE)
        return answer.status == 200 and _has_permissions(json_object(answer).get("meta"))

    def matches(self, page: ApiTokenPage) -> bool:
        """Return whether the list names the permissions that exist, as only this server does."""
        return _has_permissions(page.meta)

    def introspect(self, client: Client, secret: str) -> IntrospectionAnswer | None:
        """Ask for the state of a secret (RFC 7662) without counting it as a use of the API token."""
        answer = client.post((*TOKENS_PATH, INTROSPECT), {"token": secret, "use": False}, accept=_ERROR_STATUSES)
        document = decode_json(answer, dict[str, Any]) if answer.status < 300 else {}
        result = decode_verification(document, secret)
        if result is None:
            return None
        return IntrospectionAnswer(result, str(document["id"]) if "id" in document else None)

    def audit_log(self, client: Client) -> TokctlAuditLog:
        """Return the audit of API tokens."""
        return TokctlAuditLog(client)


def _has_permissions(meta: Any) -> bool:
    return isinstance(meta, dict) and isinstance(meta.get("permissions"), list)


class _AuditMeta(Struct):
    head: ChainHead


class _AuditPage(Struct):
    data: list[dict[str, Any]]
    meta: _AuditMeta


class TokctlAuditLog:
    """Reads ``GET /api/api-tokens/audit``. Implements ``server_kind.AuditLog``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def entries(self, *, after: int, token_id: str | None, limit: int | None, newest: bool) -> Iterator[AuditEntry]:
        """Yield entries. The newest few are one request; more are read page by page, in the order of their numbers."""
        if token_id is not None and not (token_id.isascii() and token_id.isdigit()):
            return iter(())
        query = {} if token_id is None else {"tokenId": token_id}
        if newest and limit is not None and limit <= AUDIT_PAGE_SIZE:
            query |= {"newest": "true", "limit": str(limit), "after": str(after)}
            return iter(self._fetch(query)[0] if limit > 0 else ())
        entries = self._fetch_all(after, query)
        return islice(reversed([*entries]) if newest else entries, limit)

    def head(self) -> ChainHead:
        """Return the end of the hash chain."""
        return self._fetch({"limit": "1"})[1]

    def _fetch_all(self, after: int, query: Mapping[str, str]) -> Iterator[AuditEntry]:
        while entries := self._fetch({**query, "after": str(after), "limit": str(AUDIT_PAGE_SIZE)})[0]:
            yield from entries
            if len(entries) < AUDIT_PAGE_SIZE or entries[-1].number <= after:
                return
            after = entries[-1].number

    def _fetch(self, query: Mapping[str, str]) -> tuple[Sequence[AuditEntry], ChainHead]:
        answer = self._client.get((*TOKENS_PATH, AUDIT), query)
        page = decode_json(answer, _AuditPage)
        try:
            return [decode_entry(one) for one in page.data], page.meta.head
        except msgspec.ValidationError as error:
            raise wrong_shape_error(answer.url, error) from None


KIND = TokctlKind()
