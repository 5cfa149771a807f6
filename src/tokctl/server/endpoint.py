"""Declarations of endpoints: one entry for each method of a path. Routing and OpenAPI are made from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from tokctl.documents.base import Document
from tokctl.server.cache import Headers
from tokctl.server.callers import Caller
from tokctl.server.parameters import Parameter
from tokctl.server.request import ErrorPages, is_api_tokens_path
from tokctl.server.services import Services
from tokctl.server.usage import Use
from tokctl.store.protocol import Store

API_PREFIX = "/api/v1"


class ResponseStats(Struct):
    """Counts about a response, for the metrics."""

    tokens: int = 0


class Query(Struct, frozen=True, kw_only=True):
    """The decoded request, as a handler gets it.

    ``ids`` are the path parameters, ``values`` the query parameters by name, ``applied`` the names of those in the
    request. ``use`` is when and from where the request came, ``caller`` is None for endpoints that need no credential.
    ``is_secure`` tells whether the browser that shows a web page uses TLS.
    """

    ids: tuple[str, ...] = ()
    values: dict[str, Any] = {}
    applied: str = ""
    use: Use
    stats: ResponseStats
    caller: Caller | None = None
    body: Any = None
    if_match: bytes | None = None
    idempotency_key: bytes | None = None
    is_secure: bool = False

    @property
    def now(self) -> datetime:
        """When the request came."""
        return self.use.at

    @property
    def id(self) -> str:
        """The first path parameter."""
        return self.ids[0]

    @property
    def authenticated(self) -> Caller:
        """The caller of an endpoint that needs a credential."""
        if self.caller is None:
            raise TypeError("the endpoint requires no credential")
        return self.caller


class DocumentResponse(Struct, frozen=True):
    """A small JSON document; ``in_envelope`` puts it into ``data`` of the usual envelope."""

    document: Document
    headers: Headers = []
    in_envelope: bool = False


class RawResponse(Struct, frozen=True):
    """Bytes of any content type; ``status`` replaces that of the endpoint."""

    body: bytes
    content_type: bytes
    headers: Headers = []
    status: int | None = None


class StoreResponse(Struct, frozen=True, kw_only=True):
    """A response that is read from the store, with an ETag, cached or streamed depending on its size.

    ``tag`` returns the version of the response (None if it has none), raises HTTPError if the object does not exist,
    and reads little. ``pieces`` yields the JSON of ``data``. ``is_small`` returns whether that takes at most a few
    milliseconds and may run on the event loop; otherwise a thread reads it from a store of its own.

    It is the handler of its endpoint, too: the functions get everything else from the query.
    """

    tag: Callable[[Store, Query], str | None]
    pieces: Callable[[Store, Query], Iterator[bytes]]
    is_small: Callable[[Store, Query], bool] = lambda _store, _query: True

    async def __call__(self, _services: Services, _query: Query) -> StoreResponse:
        """Return itself."""
        return self


Response = DocumentResponse | RawResponse | StoreResponse
Handler = Callable[[Services, Query], Awaitable[Response]]


class Endpoint(Struct, frozen=True, kw_only=True, eq=False):
    """One method of one path. GET includes HEAD, and every path has OPTIONS.

    One of ``permissions`` is enough; if there are none, no credential is needed. With ``authorizes_itself`` the handler
    checks permissions and records the use of API tokens, because both depend on the body. ``body`` is the type of the
    JSON body, ``form`` the type of the same body as a form. ``status`` and ``schema`` describe the response ("" for
    plain text), ``errors`` are the statuses that not every endpoint has. ``is_page``: it is for browsers; the
    credential is the cookie of a session, and errors are HTML.
    """

    path: str
    method: str = "GET"
    name: str
    text: str
    schema: str
    status: int = 200
    permissions: tuple[str, ...] = ()
    authorizes_itself: bool = False
    is_page: bool = False
    parameters: Mapping[str, Parameter] = {}
    errors: tuple[int, ...] = ()
    body: type[Struct] | None = None
    form: type[Struct] | None = None
    handler: Handler

    @property
    def is_api_tokens(self) -> bool:
        """Whether it belongs to the API-token API: JWTs are accepted, and documents have no envelope."""
        return is_api_tokens_path(self.path)

    @property
    def is_versioned(self) -> bool:
        """Whether its responses have an ETag, as on all paths that are read from the store."""
        return self.path.startswith(API_PREFIX)


class Resource:
    """A path, and its endpoints by method.

    ``is_open``: no credential is needed. ``is_page``: the endpoints are web pages. ``parameters`` are the query
    parameters of all the endpoints.
    """

    def __init__(self, path: str, endpoints: dict[str, Endpoint]) -> None:
        self.path = path
        self.endpoints = endpoints
        self.is_open = bool(endpoints) and not any(endpoint.permissions for endpoint in endpoints.values())
        self.is_page = any(endpoint.is_page for endpoint in endpoints.values())
        self.parameters = {name: one for endpoint in endpoints.values() for name, one in endpoint.parameters.items()}

    def get_endpoint(self, method: str) -> Endpoint | None:
        """Return the endpoint of a method; GET also serves HEAD."""
        return self.endpoints.get("GET" if method == "HEAD" else method)

    @property
    def methods(self) -> list[str]:
        """The allowed methods."""
        methods = [*self.endpoints]
        return [*methods[:1], *(["HEAD"] if "GET" in methods else []), *methods[1:], "OPTIONS"]


class WebPages(ErrorPages, Protocol):
    """Web pages: their endpoints, and their errors."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the endpoints of the pages."""


def group_by_path(endpoints: tuple[Endpoint, ...]) -> list[Resource]:
    """Return the resources in the order of their first endpoints."""
    found: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        found.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [Resource(path, methods) for path, methods in found.items()]
