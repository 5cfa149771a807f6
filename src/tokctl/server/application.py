"""The ASGI application: a Starlette router with one route for each path, and what every request has in common.

Ids may contain ``/`` as ``%2F``, so paths are matched before they are decoded. The pipeline handles every request;
exceptions become error responses here, in one place; then metrics and access log record the result. The ``Starlette``
class is not used: its two layers of exception handlers cost a tenth of the time of a small request.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from starlette.routing import Route, Router

from tokctl.api_tokens.pepper import Pepper
from tokctl.errors import StoreError, TokctlError
from tokctl.model.times import format_time
from tokctl.server.access_log import AccessLog, format_now, redact_secrets, redact_target
from tokctl.server.client_address import UNIX
from tokctl.server.endpoint import Endpoint, Resource, WebPages, group_by_path
from tokctl.server.endpoints import ENDPOINTS
from tokctl.server.http_errors import HTTPError, to_http_error
from tokctl.server.metrics import UNMATCHED
from tokctl.server.openapi import make_openapi_document
from tokctl.server.pipeline import Pipeline
from tokctl.server.request import ClientDisconnected, Receive, Request, Scope, Send, join_headers
from tokctl.server.services import Services
from tokctl.server.settings import ServeSettings

DAMAGE_SECONDS = 60.0  # between two searches for damage
FLUSH_SECONDS = 0.5  # between two updates of the metrics that other workers see
_REQUEST = "tokctl.request"  # key of the ``Request`` in an ASGI scope
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


class Application:
    """The HTTP API of a store as an ASGI application.

    ``on_startup`` is called when the server is about to accept connections. ``pages`` are served in addition.
    """

    def __init__(
        self,
        store: str,
        pepper: Pepper,
        settings: ServeSettings,
        log: AccessLog,
        on_startup: Callable[[], object] = lambda: None,
        endpoints: tuple[Endpoint, ...] = ENDPOINTS,
        pages: WebPages | None = None,
    ) -> None:
        self.services = Services(store, pepper, settings, log)
        self.services.openapi = make_openapi_document(endpoints)
        self.log = log
        self.on_startup = on_startup
        self._id_prefix = f"req_{os.urandom(5).hex()}"
        self._count = itertools.count(1)
        self._damage: StoreError | None = None  # what was found in the store after an unexpected exception
        self._damage_expires_at = 0.0
        pipeline = Pipeline(self.services)
        resources = group_by_path(endpoints if pages is None else (*endpoints, *pages.endpoints))
        self._router = Router(
            [Route(one.path, _ResourceApp(pipeline, one, pages)) for one in resources],
            redirect_slashes=False,
            default=_ResourceApp(pipeline, Resource("", {}), None),
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncIterator[None]:
        self.services.usage.start()
        if not self.services.settings.read_only:
            self.services.salts.note()
        flushing = asyncio.get_running_loop().create_task(self._flush_metrics())
        self.on_startup()
        yield
        flushing.cancel()
        await self.services.close()

    async def _flush_metrics(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.services.metrics.flush()

    # --- around each request ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (or the lifespan), and record the result."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        scope["path"] = scope["raw_path"].decode("latin-1")
        request = scope[_REQUEST] = self._make_request(scope, receive, send)
        connection, metrics = request.connection, self.services.metrics
        if connection is not None:
            connection.begin_request(request)
        metrics.in_flight += 1
        try:
            try:
                await self._router(scope, receive, send)
            except (HTTPError, TokctlError) as error:
                await self._send_error(request, error)
        except ClientDisconnected as error:
            request.reason = str(error)
        except asyncio.CancelledError:
            request.reason = "the server ended"
            request.abort()
            raise
        except Exception as error:  # noqa: BLE001 - the last handler: log the exception, send 500
            await self._send_fault(request, error)
        finally:
            del scope[_REQUEST]  # it refers to the scope: a cycle would wait for the garbage collector
            metrics.in_flight -= 1
            self._record(request)
            if connection is not None:
                connection.end_request()

    def _make_request(self, scope: Scope, receive: Receive, send: Send) -> Request:
        headers = join_headers(scope["headers"])
        given = headers.get(b"x-request-id")
        request_id = "" if given is None or _REQUEST_ID.fullmatch(given) is None else given.decode()
        if not request_id or redact_secrets(request_id) != request_id:
            request_id = f"{self._id_prefix}{next(self._count):x}"
        request = Request(scope, receive, send, request_id, headers)
        peer = scope.get("client")
        request.client = self.services.proxies.find_client(peer[0] if peer else UNIX, headers)
        return request

    def _record(self, request: Request) -> None:
        seconds = perf_counter() - request.began
        tokens = request.tokens if request.status == 200 and not request.is_head else 0
        route = request.route or UNMATCHED
        self.services.metrics.count_response(route, request.method, request.status, seconds, request.size, tokens)
        if not self.log.logs_requests:
            return
        line: dict[str, Any] = {
            "time": format_time(request.now),
            "request_id": request.request_id,
            "client": request.client,
            "method": redact_secrets(request.method),
            "path": redact_target(request.path, request.query, request.known_parameters),
            "status": request.status,
            "bytes": request.size,
            "duration_ms": round(seconds * 1000, 3),
        }
        if request.token is not None:
            line["token_id"], line["token_name"] = request.token.id, request.token.name
        elif request.user:
            line["user"] = request.user
        if request.reason:
            line["reason"] = request.reason
        self.log.log_request(line)

    def log_refusal(self, error: HTTPError, client: str) -> None:
        """Record a request that the connection refused before it was complete."""
        self.services.metrics.count_response(UNMATCHED, "other", error.status, 0.0, 0)
        if self.log.logs_requests:
            self.log.log_request(
                {
                    "time": format_now(),
                    "client": client,
                    "status": error.status,
                    "reason": error.reason or error.message,
                }
            )

    # --- exceptions ---

    async def _send_error(self, request: Request, error: HTTPError | TokctlError) -> None:
        """Send an error response. If the response has started, abort the connection, so that it is seen as incomplete.

        Messages of the store contain file names, so they go to the log only.
        """
        if isinstance(error, StoreError):
            self.services.live_store.reset()
            self.services.metrics.count_store_error("read", error)
        elif isinstance(error, HTTPError) and error.status == 503 and isinstance(error.__cause__, StoreError):
            self.services.metrics.count_store_error("write", error.__cause__)
        found = error if isinstance(error, HTTPError) else to_http_error(error)
        if request.status:
            request.reason = found.reason or found.message
            request.abort()
        else:
            await request.send_error(found)

    async def _send_fault(self, request: Request, error: Exception) -> None:
        if damage := await self._find_damage():
            await self._send_error(request, damage)
            return
        lines = "".join(traceback.format_exception(error)).splitlines()
        self.log.log_event("fault", request_id=request.request_id, route=request.route, traceback=lines)
        self.services.live_store.reset()
        await self._send_error(request, HTTPError(500, "INTERNAL_ERROR", "Internal server error.", reason="fault"))

    async def _find_damage(self) -> StoreError | None:
        """Return the error for a damaged store, which may be why a request failed; searches at most once a minute."""
        now = perf_counter()
        if now >= self._damage_expires_at:
            self._damage_expires_at = now + DAMAGE_SECONDS
            try:
                self._damage = await self.services.readers.run(self.services.readers.find_damage)
            except StoreError as error:
                self._damage = error
        return self._damage


class _ResourceApp:
    """The ASGI application of a path: passes requests to the pipeline."""

    def __init__(self, pipeline: Pipeline, resource: Resource, pages: WebPages | None) -> None:
        self.pipeline = pipeline
        self.resource = resource
        self.pages = pages if resource.is_page else None
        self.parameters = resource.parameters

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        request: Request = scope[_REQUEST]
        request.route, request.known_parameters = self.resource.path, self.parameters
        request.pages = self.pages
        request.path_parameters = scope.get("path_params", {})
        await self.pipeline.handle(request, self.resource)
