"""The ASGI application: a request from its first header to its line in the log.

In this order: limits, who asks (401, 429), whether he may change things (403), where to (404, 405), whether he may
see it (403), what he asks for (400), whether it is there (404), whether he has it already (304), and the answer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import traceback
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from time import monotonic, perf_counter
from typing import Any

from tokctl.errors import StoreError, TokctlError
from tokctl.pepper import Pepper
from tokctl.process.model import format_time
from tokctl.server.accesslog import SECRET_SIGNS, Log, told_target
from tokctl.server.addresses import UNIX, Proxies
from tokctl.server.authorise import Authority, check_method, check_permission
from tokctl.server.cache import Answer, Cache, Headers
from tokctl.server.coding import is_known
from tokctl.server.endpoints import ENDPOINTS
from tokctl.server.exchange import JSON, NOSNIFF, PRIVATE, VARY, Cut, Exchange, Receive, Scope, Send
from tokctl.server.metrics import UNMATCHED, Metrics
from tokctl.server.openapi import openapi_document
from tokctl.server.operations import Operations
from tokctl.server.parameters import read_query
from tokctl.server.refusals import Refusal, refusal_of
from tokctl.server.routes import Endpoint, Question, Resource, Routes, Service, Told
from tokctl.server.settings import ServeSettings
from tokctl.server.stores import Present, Readers, joined
from tokctl.server.streaming import WHOLE, LongAnswer
from tokctl.server.throttle import Throttle
from tokctl.server.usage import Usage

HAND_OVER_SECONDS = 0.5
ALLOWED = b"GET, HEAD, OPTIONS"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_COMPRESS_HERE = 1 << 16  # bytes; more takes longer than the event loop can spare


class Application:
    """Answers requests from a store. Made and used on one event loop."""

    def __init__(self, store: str, pepper: Pepper, settings: ServeSettings, log: Log) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.log = log
        self.metrics = Metrics()
        self.routes = Routes(ENDPOINTS)
        self.openapi = openapi_document(ENDPOINTS)
        self.proxies = Proxies(settings.trusted_proxies)
        self.present = Present(store)
        self.readers = Readers(store, self.limits.long_answers)
        self.cache = Cache(self.limits.cache)
        self.throttle = Throttle(monotonic, burst=self.limits.failures, shares=settings.workers)
        self.authority = Authority(pepper, self.present, self.throttle, self.metrics)
        self.usage = Usage(store, log.event)
        self.operations = Operations(store, self)
        self._files = 0
        self._made = f"req_{os.urandom(5).hex()}"
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end."""
        if scope["type"] == "http":
            headers = _headers(scope)
            given = headers.get(b"x-request-id")
            ours = given is None or _REQUEST_ID.fullmatch(given) is None or any(sign in given for sign in SECRET_SIGNS)
            request_id = f"{self._made}{next(self._count):x}" if given is None or ours else given.decode()
            await self._exchange(Exchange(scope, receive, send, headers, request_id))
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.usage.start()
        handing = asyncio.get_running_loop().create_task(self._hand_over())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        handing.cancel()
        await self.usage.finish()
        await self.readers.close()
        self.operations.close()
        self.present.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _hand_over(self) -> None:
        while True:
            await asyncio.sleep(HAND_OVER_SECONDS)
            self.metrics.hand_over()

    # --- around the answer ---

    async def _exchange(self, exchange: Exchange) -> None:
        self.metrics.in_flight += 1
        try:
            try:
                await self._answer(exchange)
            except Refusal as refusal:
                await self._refuse(exchange, refusal)
            except TokctlError as error:
                if isinstance(error, StoreError):
                    self.present.close()
                await self._refuse(exchange, refusal_of(error))
        except Cut as cut:
            exchange.reason = str(cut)
        except asyncio.CancelledError:
            exchange.reason = "the server ended"
            exchange.abort()
            raise
        except Exception:  # noqa: BLE001 - the one place where a fault of ours ends, and is told of
            await self._fail(exchange)
        finally:
            self.metrics.in_flight -= 1
            self._note(exchange)

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        if exchange.status:
            exchange.abort()
            raise Cut(refusal.reason or refusal.message)
        await exchange.refuse(refusal, close=refusal.status in {413, 414, 431})

    async def _fail(self, exchange: Exchange) -> None:
        self.log.event("fault", request_id=exchange.request_id, route=exchange.route,
                       traceback=traceback.format_exc().splitlines())  # fmt: skip
        self.present.close()
        if exchange.status:
            exchange.reason = "fault"
            exchange.abort()
        else:
            await exchange.refuse(Refusal(500, "INTERNAL_ERROR", "The server has failed.", reason="fault"))

    def _note(self, exchange: Exchange) -> None:
        seconds = perf_counter() - exchange.began
        scope = exchange.scope
        route, method = exchange.route or UNMATCHED, scope["method"]
        told = exchange.tokens if exchange.status == 200 and not exchange.head_only else 0
        self.metrics.answered(route, method, exchange.status, seconds, exchange.size, told)
        if self.log.requests:
            line: dict[str, Any] = {
                "time": format_time(exchange.now),
                "request_id": exchange.request_id,
                "client": exchange.client,
                "method": method,
                "path": told_target(scope["raw_path"], scope["query_string"], exchange.known),
                "status": exchange.status,
                "bytes": exchange.size,
                "duration_ms": round(seconds * 1000, 3),
            }
            if exchange.token is not None:
                line["token_id"], line["token_name"] = exchange.token.id, exchange.token.name
            elif exchange.user:
                line["user"] = exchange.user
            if exchange.reason:
                line["reason"] = exchange.reason
            self.log.request(line)

    # --- the answer ---

    async def _answer(self, exchange: Exchange) -> None:
        scope = exchange.scope
        headers = exchange.headers
        peer = scope.get("client")
        exchange.client = self.proxies.client(peer[0] if peer else UNIX, headers)
        target = _target(scope)
        method = scope["method"]
        found = self.routes.find(scope["raw_path"])
        if found is not None:
            exchange.route, exchange.known = found[0].path, found[0].parameters
        self._check_size(target, headers)
        now = exchange.now
        if found is None or found[0].permissions:
            token = exchange.token = self.authority.token_of(headers, exchange.client, now)
            self.usage.note(token, now)
            check_method(token, method)
        if found is None:
            raise Refusal(404, "NOT_FOUND", "There is no such endpoint.", {"see": "/openapi.json"})
        endpoint, ids = found
        if isinstance(endpoint, Resource):
            await self.operations.answer(exchange, endpoint, ids)
            return
        if method == "OPTIONS":
            await exchange.start(204, [(b"allow", ALLOWED)])
            await exchange.body(b"")
            return
        if method not in {"GET", "HEAD"}:
            raise Refusal(405, "METHOD_NOT_ALLOWED", f"{method} is not for this endpoint.",
                          {"allowed": ["GET", "HEAD", "OPTIONS"]}, headers=((b"allow", ALLOWED),))  # fmt: skip
        if exchange.token is not None:
            check_permission(exchange.token, endpoint.permissions)
        if isinstance(endpoint, Service):
            await self._serve(exchange, endpoint)
        else:
            await self._tell(exchange, endpoint, ids, target, now)

    def _check_size(self, target: bytes, headers: Mapping[bytes, bytes]) -> None:
        if len(target) > self.limits.target:
            raise Refusal(414, "URI_TOO_LONG", f"Path and query have more than {self.limits.target:,} bytes.")
        length = headers.get(b"content-length")
        if length is not None and int(length) > self.limits.body:  # that it is a number, the protocol has seen to
            raise Refusal(413, "PAYLOAD_TOO_LARGE", f"The body has more than {self.limits.body:,} bytes.")

    async def _serve(self, exchange: Exchange, service: Service) -> None:
        read_query(exchange.scope["query_string"], service.parameters)
        data = service.body(self, exchange.headers, exchange.request_id)
        cached = (b"cache-control", b"no-store")
        await exchange.whole(200, [(b"content-type", service.content_type), NOSNIFF, cached], data)

    async def _tell(
        self, exchange: Exchange, endpoint: Endpoint, ids: tuple[str, ...], target: bytes, now: datetime
    ) -> None:
        store = self.present.look()
        if self.present.files != self._files:
            self._files = self.present.files
            self.cache.clear()
        answer = self.cache.get(target)
        known = exchange.headers.get(b"if-none-match")
        if answer is not None and answer.moment == self.present.moment:
            if known is None or not is_known(_etag(answer.headers), known):
                await self._send(exchange, answer)
            else:
                await exchange.not_modified(answer.headers)
            return
        values, given = read_query(exchange.scope["query_string"], endpoint.parameters)
        question = Question(ids, values, given, now, Told())
        salt = self.present.salt

        def headers_of(tag: str | None) -> Headers:
            return _answer_headers(tag, salt, target, given)

        tag = endpoint.tag(store, question)
        if tag is not None and known is not None and is_known(_etag(headers := headers_of(tag)), known):
            await exchange.not_modified(headers)
            return
        if answer is not None and tag is not None and answer.headers == headers_of(tag):
            answer.moment = self.present.moment
            await self._send(exchange, answer)
            return
        made: Answer | None = None
        if endpoint.is_small(store, question):
            moment = self.present.moment
            data, complete = joined(endpoint.pieces(store, question), WHOLE)
            if complete:
                made = Answer(data, headers_of(tag), tag, question.told.tokens)
                made.moment = moment
                self._keep(target, made)
                await self._send(exchange, made)
                return
            question.told.tokens = 0
        made = await LongAnswer(exchange, endpoint, question, self.readers).send(self.limits, headers_of)
        if made is not None:
            self._keep(target, made)

    def _keep(self, target: bytes, answer: Answer) -> None:
        if answer.tag is not None:
            self.cache.put(target, answer)

    async def _send(self, exchange: Exchange, answer: Answer) -> None:
        if len(answer.body) > _COMPRESS_HERE and exchange.compressed and not answer.is_deflated:
            await self.readers.run(answer.deflated)
        await exchange.answer(answer)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name, in lower case; of those that come several times the values between commas."""
    pairs = scope["headers"]
    headers: dict[bytes, bytes] = dict(pairs)
    if len(headers) != len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _target(scope: Scope) -> bytes:
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"]
    return path + b"?" + query if query else path


def _etag(headers: Headers) -> bytes:
    return next(value for name, value in headers if name == b"etag")


def _answer_headers(tag: str | None, salt: bytes, target: bytes, given: str) -> Headers:
    headers = [JSON, VARY, PRIVATE, NOSNIFF]
    if tag is not None:
        mark = blake2b(target, digest_size=6, key=salt).hexdigest()
        headers.append((b"etag", f'W/"{tag}-{mark}"'.encode()))
    if given:
        headers.append((b"x-query-applied", given.encode()))
    return headers
