"""Sending responses: documents as they are, responses from the store with ETag, cache, gzip and streaming."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from tokctl.documents.base import Document
from tokctl.server.cache import CachedResponse, Headers
from tokctl.server.content_negotiation import MIN_COMPRESSED_BYTES, CompressedBody, matches_etag
from tokctl.server.endpoint import DocumentResponse, Query, RawResponse, Response, StoreResponse
from tokctl.server.request import GZIP, JSON, NO_STORE, NOSNIFF, PRIVATE, VARY, Request
from tokctl.server.services import Services
from tokctl.server.stores import join_pieces
from tokctl.server.streaming import MAX_WHOLE_BYTES, StreamedResponse

MAX_COMPRESSED_ON_LOOP = 1 << 16  # bytes; compressing more takes longer than the event loop can spare


class Responder:
    """Sends the responses of handlers, and caches small ones from the store."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.live_store = services.live_store
        self.cache = services.cache
        self._files = 0

    async def send(self, request: Request, query: Query, response: Response, status: int) -> None:
        """Send a response. Raises HTTPError, StoreError, ClientDisconnected."""
        if isinstance(response, StoreResponse):
            await self._send_from_store(request, query, response)
        elif isinstance(response, RawResponse):
            await self._send_raw(request, response, status)
        else:
            await self._send_document(request, response, status)

    async def _send_raw(self, request: Request, response: RawResponse, status: int) -> None:
        headers, body = [(b"content-type", response.content_type), NOSNIFF, NO_STORE, *response.headers], response.body
        if request.pages is not None and request.accepts_gzip and len(body) >= MIN_COMPRESSED_BYTES:
            is_long = len(body) > MAX_COMPRESSED_ON_LOOP
            compressed = await self.services.readers.run(CompressedBody, body) if is_long else CompressedBody(body)
            body = compressed.to_gzip(b"")
            headers += [GZIP, VARY]
        await request.send(response.status or status, headers, body)

    @staticmethod
    async def _send_document(request: Request, response: DocumentResponse, status: int) -> None:
        document: Document = response.document
        if response.in_envelope:
            document = {"success": True, "data": document, "request_id": request.request_id}
        await request.send(status, [JSON, NOSNIFF, NO_STORE, *response.headers], msgspec.json.encode(document))

    async def send_cached(self, request: Request) -> bool:
        """Send the cached response to the target, if it is up to date; returns whether it was sent.

        Raises:
            StoreError: the store cannot be read.
        """
        cached = self.cache.get(request.target)
        if cached is None:
            return False
        await self._refresh(request)
        if cached.moment != self.live_store.moment:
            return False
        await self._send_known(request, cached.headers, cached)
        return True

    async def _refresh(self, request: Request) -> None:
        """Check the store; clear the cache if it is another file, which may have the same tags."""
        await self.live_store.refresh(request.began)
        if self.live_store.files != self._files:
            self._files = self.live_store.files
            self.cache.clear()

    async def _send_from_store(self, request: Request, query: Query, response: StoreResponse) -> None:
        await self._refresh(request)
        salt, cached = self.live_store.salt, self.cache.get(request.target)

        def make_headers(tag: str | None) -> Headers:
            return _make_headers(tag, salt, request.target, query.applied)

        def is_known(headers: Headers) -> bool:
            """Return whether the client or the cache has the response already."""
            return _client_has(request, headers) or (cached is not None and cached.headers == headers)

        store = self.live_store.get_loop_store()
        if store is not None:
            headers = make_headers(response.tag(store, query))
            moment = self.live_store.moment
            if is_known(headers):
                await self._send_known(request, headers, cached, moment)
                return
            if response.is_small(store, query):
                data, is_complete = join_pieces(response.pieces(store, query), MAX_WHOLE_BYTES)
                if is_complete:
                    made = CachedResponse(data, headers, query.stats.tokens)
                    self._keep(request, made, moment)
                    await self._send_whole(request, made)
                    return
                query.stats.tokens = 0
        streamed = StreamedResponse(request, response, query, self.services.readers)
        whole = await streamed.send(self.services.limits, make_headers, is_known)
        moment = self.live_store.get_moment(streamed.revisions)
        if streamed.is_known:
            await self._send_known(request, streamed.headers, cached, moment)
        elif whole is not None:
            self._keep(request, whole, moment)

    async def _send_known(
        self, request: Request, headers: Headers, cached: CachedResponse | None, moment: int | None = None
    ) -> None:
        """Send what the client or the cache has already. ``moment`` is when that was found out, None for earlier."""
        if cached is not None and cached.headers == headers and moment is not None:
            cached.moment = moment
        if cached is None or _client_has(request, headers):
            await request.send_not_modified(headers)
        else:
            await self._send_whole(request, cached)

    def _keep(self, request: Request, response: CachedResponse, moment: int) -> None:
        if _get_etag(response.headers) is not None:
            response.moment = moment
            self.cache.put(request.target, response)

    async def _send_whole(self, request: Request, response: CachedResponse) -> None:
        if len(response.body) > MAX_COMPRESSED_ON_LOOP and request.accepts_gzip and not response.is_compressed:
            await self.services.readers.run(response.get_compressed)
        await request.send_cached(response)


def _get_etag(headers: Headers) -> bytes | None:
    return next((value for name, value in headers if name == b"etag"), None)


def _client_has(request: Request, headers: Headers) -> bool:
    """Return whether the client already has the response with these headers."""
    etag, known = _get_etag(headers), request.headers.get(b"if-none-match")
    return etag is not None and known is not None and matches_etag(etag, known)


def _make_headers(tag: str | None, salt: bytes, target: bytes, applied: str) -> Headers:
    headers = [JSON, VARY, PRIVATE, NOSNIFF]
    if tag is not None:
        mark = blake2b(target, digest_size=6, key=salt).hexdigest()
        headers.append((b"etag", f'W/"{tag}-{mark}"'.encode()))
    if applied:
        headers.append((b"x-query-applied", applied.encode()))
    return headers
