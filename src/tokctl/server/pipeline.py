"""The steps of every request: limits, authentication, authorization, parameters, handler, response.

The order of the errors is part of the contract: 413, 414, 431 (limits), 400 (Host), 401 and 429 (authentication), 403
(read-only API token), 404 and 405 (path and method), 403 (permissions), 400 and 415 (parameters and body), then the
errors of the handler.
"""

from __future__ import annotations

import re
from time import perf_counter
from urllib.parse import unquote_to_bytes

from msgspec.structs import replace

from tokctl.model.api_tokens import SAFE_METHODS
from tokctl.model.networks import is_address_in
from tokctl.server.callers import Caller
from tokctl.server.endpoint import Endpoint, Query, Resource, ResponseStats
from tokctl.server.endpoints.service import METRICS
from tokctl.server.http_errors import HTTPError, body_too_large, head_too_large, target_too_long
from tokctl.server.parameters import read_query
from tokctl.server.request import Request
from tokctl.server.request_bodies import read_body
from tokctl.server.responder import Responder
from tokctl.server.services import Services
from tokctl.store.protocol import CallerChangedError

_HEADER_OVERHEAD = 4  # bytes of a header line without name and value
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)  # a name or an address with or without a port


class Pipeline:
    """Handles requests to resources."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.limits = services.limits
        self.accepts_jwts = services.settings.accepts_jwts
        self.metrics_from = services.settings.metrics_from
        self.responder = Responder(services)

    async def handle(self, request: Request, resource: Resource) -> None:
        """Handle a request. Raises HTTPError, TokctlError, ClientDisconnected."""
        self._check_limits(request)
        method, sessions = request.method, self.services.sessions
        if resource.is_page and method not in SAFE_METHODS:
            sessions.check_origin(request)
        endpoint = resource.get_endpoint(method)
        is_open = resource.is_open or (
            resource.path == METRICS.path and is_address_in(request.client, self.metrics_from)
        )
        caller = None if is_open else await self._authenticate(request, request.began)
        if caller is not None and (endpoint is None or not endpoint.authorizes_itself):
            if caller.token is not None:
                agent = request.headers.get(b"user-agent")
                self.services.usage.record_use(caller.token, request.now, request.client, agent, method, request.route)
            caller.check_method(method)
            if endpoint is not None:
                caller.check_permission(endpoint.permissions)
        if not resource.endpoints:
            raise HTTPError(404, "NOT_FOUND", "Endpoint not found.", {"see": "/openapi.json"})
        if endpoint is None:
            await self._send_options(request, resource)
            return
        if await self.responder.send_cached(request):
            return
        values, applied = read_query(request.query, endpoint.parameters)
        body = None
        if endpoint.body is not None:
            body = await read_body(request, endpoint.body, endpoint.form, self.limits)
            if caller is not None:
                caller = await self._authenticate(request, perf_counter())  # it may have changed while the body arrived
                self._authorize(caller, endpoint, method)
        query = Query(
            ids=tuple(map(_decode, request.path_parameters.values())),
            values=values,
            applied=applied,
            use=request.use,
            stats=ResponseStats(),
            caller=caller,
            body=body,
            if_match=request.headers.get(b"if-match"),
            idempotency_key=request.headers.get(b"idempotency-key"),
            is_secure=resource.is_page and sessions.is_secure(request),
        )
        await self._call(request, endpoint, query)

    async def _call(self, request: Request, endpoint: Endpoint, query: Query) -> None:
        try:
            response = await endpoint.handler(self.services, query)
        except CallerChangedError:  # changed while the request waited for another writer
            caller = await self._authenticate(request, perf_counter())
            self._authorize(caller, endpoint, request.method)
            query = replace(query, caller=caller)
            response = await endpoint.handler(self.services, query)
        await self.responder.send(request, query, response, endpoint.status)

    def _check_limits(self, request: Request) -> None:
        limits, headers = self.limits, request.headers
        if len(request.target) > limits.target:
            raise target_too_long(limits.target)
        size, hosts = len(request.target), []
        for name, value in request.scope["headers"]:
            size += len(name) + len(value) + _HEADER_OVERHEAD
            if name == b"host":
                hosts.append(value)
        if size > limits.head:
            raise head_too_large(limits.head)
        if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
            self._check_hosts(request, hosts)
        if b"transfer-encoding" in headers:  # uvicorn adds the trailers of chunked bodies to the headers
            raise HTTPError(411, "LENGTH_REQUIRED", "The body requires a Content-Length header.")
        length = headers.get(b"content-length")
        if length is not None and int(length) > limits.body:  # the HTTP server has checked that it is a number
            raise body_too_large(limits.body)

    @staticmethod
    def _check_hosts(request: Request, hosts: list[bytes]) -> None:
        """Raise HTTPError unless there is one valid ``Host``; HTTP/1.0 needs none (RFC 9112, section 3.2)."""
        if hosts or request.scope["http_version"] != "1.0":
            message = "The request requires exactly one valid Host header."
            raise HTTPError(400, "BAD_REQUEST", message, reason="host", headers=((b"connection", b"close"),))

    async def _authenticate(self, request: Request, since: float) -> Caller:
        """Return the caller, and record it for the access log. Raises HTTPError, StoreError.

        The state of its API token is not older than ``since``.
        """
        request.token, request.user = None, ""
        if request.pages is not None:
            caller = await self.services.sessions.authenticate(request, since)
        else:
            accepts_jwt = self.accepts_jwts and request.is_api_tokens
            caller = await self.services.authenticator.authenticate(
                request.headers, request.client, request.now, since, accepts_jwt=accepts_jwt
            )
        request.token = caller.token
        request.user = caller.actor.id if caller.token is None else ""
        return caller

    @staticmethod
    def _authorize(caller: Caller | None, endpoint: Endpoint, method: str) -> None:
        if caller is not None and not endpoint.authorizes_itself:
            caller.check_method(method)
            caller.check_permission(endpoint.permissions)

    @staticmethod
    async def _send_options(request: Request, resource: Resource) -> None:
        allowed = (b"allow", ", ".join(resource.methods).encode())
        if request.method == "OPTIONS":
            await request.send_empty(204, [allowed])
            return
        raise HTTPError(
            405,
            "METHOD_NOT_ALLOWED",
            f"{request.method} is not allowed for this endpoint.",
            {"allowed": resource.methods},
            headers=(allowed,),
        )


def _decode(text: str) -> str:
    """Decode a path parameter; invalid UTF-8 becomes U+FFFD, which no id contains."""
    return unquote_to_bytes(text.encode("latin-1")).decode(errors="replace") if "%" in text else text
