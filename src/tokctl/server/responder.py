"""Sending responses: documents as they are, responses from the store with ETag, cache, gzip and streaming."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from tokctl.documents.base import Document
from tokctl.server.cache import CachedResponse, Headers
from tokctl.server.content_negotiation import matches_etag
from tokctl.server.endpoint import DocumentResponse, Query, RawResponse, Response, StoreResponse
from tokctl.server.request import JSON, NO_STORE, NOSNIFF, PRIVATE, VARY, Request
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
            headers = [(b"content-type", response.content_type), NOSNIFF, NO_STORE, *response.headers]
            await request.send(response.status or status, headers, response.body)
        else:
            await self._send_document(request, response, status)

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
        self._refresh()
        if cached.moment != self.live_store.moment:
            return False
        known = request.headers.get(b"if-none-match")
        if known is not None and matches_etag(_get_etag(cached.headers), known):
            await request.send_not_modified(cached.headers)
        else:
            await self._send_whole(request, cached)
        return True

    def _refresh(self) -> None:
        """Check the store; clear the cache if it is another file, which may have the same tags."""
        self.live_store.get_store()
        if self.live_store.files != self._files:
            self._files = self.live_store.files
            self.cache.clear()

    async def _send_from_store(self, request: Request, query: Query, response: StoreResponse) -> None:
        self._refresh()
        store = self.live_store.get_store()
        known = request.headers.get(b"if-none-match")
        salt = self.live_store.salt

        def make_headers(tag: str | None) -> Headers:
            return _make_headers(tag, salt, request.target, query.applied)

        tag = response.tag(store, query)
        headers = make_headers(tag)
        if tag is not None and known is not None and matches_etag(_get_etag(headers), known):
            await request.send_not_modified(headers)
            return
        cached = self.cache.get(request.target)
        if cached is not None and tag is not None and cached.headers == headers:
            cached.moment = self.live_store.moment
            await self._send_whole(request, cached)
            return
        if response.is_small(store, query):
            moment = self.live_store.moment
            data, is_complete = join_pieces(response.pieces(store, query), MAX_WHOLE_BYTES)
            if is_complete:
                made = CachedResponse(data, headers, tag, query.stats.tokens)
                made.moment = moment
                self._keep(request, made)
                await self._send_whole(request, made)
                return
            query.stats.tokens = 0
        streamed = StreamedResponse(request, response, query, self.services.readers)
        whole = await streamed.send(self.services.limits, make_headers)
        if whole is not None:
            self._keep(request, whole)

    def _keep(self, request: Request, response: CachedResponse) -> None:
        if response.tag is not None:
            self.cache.put(request.target, response)

    async def _send_whole(self, request: Request, response: CachedResponse) -> None:
        if len(response.body) > MAX_COMPRESSED_ON_LOOP and request.accepts_gzip and not response.is_compressed:
            await self.services.readers.run(response.get_compressed)
        await request.send_cached(response)


def _get_etag(headers: Headers) -> bytes:
    return next(value for name, value in headers if name == b"etag")


def _make_headers(tag: str | None, salt: bytes, target: bytes, applied: str) -> Headers:
    headers = [JSON, VARY, PRIVATE, NOSNIFF]
    if tag is not None:
        mark = blake2b(target, digest_size=6, key=salt).hexdigest()
        headers.append((b"etag", f'W/"{tag}-{mark}"'.encode()))
    if applied:
        headers.append((b"x-query-applied", applied.encode()))
    return headers
