"""Which endpoint a path names. Paths are taken apart before they are decoded: an id may hold anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from tokctl.server.parameters import Parameter
from tokctl.store.base import Store

if TYPE_CHECKING:
    from tokctl.server.operations import Call, Operations, Reply

PREFIX = "/api/v1"
API_TOKENS = "/api/api-tokens"


class Told(Struct):
    """What an answer came to, for the figures."""

    tokens: int = 0


class Question(Struct, frozen=True):
    """What is asked: the ids of the path, the values of the query, and the moment."""

    ids: tuple[str, ...]
    values: dict[str, Any]
    given: str  # names of query parameters, as they are told in X-Query-Applied
    now: datetime
    told: Told

    @property
    def id(self) -> str:
        """The first id of the path."""
        return self.ids[0]


class Endpoint(Struct, frozen=True, kw_only=True, eq=False):
    """What a path answers to GET and HEAD.

    ``tag`` names the version of the answer, None where it has none, and refuses what is not there; it reads little.
    ``pieces`` yields the JSON of ``data``, in pieces. ``is_small`` tells whether it takes a few milliseconds
    at most. ``permissions``: any of them will do; none: no credential is asked for. ``schema`` names the type in
    ``schemas`` that ``data`` has, ``faults`` the statuses beside those that every endpoint may answer with.
    """

    path: str
    name: str
    text: str
    schema: str
    permissions: tuple[str, ...]
    parameters: Mapping[str, Parameter] = {}
    faults: tuple[int, ...] = ()
    tag: Callable[[Store, Question], str | None]
    is_small: Callable[[Store, Question], bool] = lambda _store, _question: True
    pieces: Callable[[Store, Question], Iterator[bytes]]


class Service(Struct, frozen=True, kw_only=True, eq=False):
    """What a path answers about the server itself.

    ``body`` makes the bytes of the application, the headers and the request id; an envelope, too.
    """

    path: str
    name: str
    text: str
    schema: str
    permissions: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = {}
    faults: tuple[int, ...] = ()
    content_type: bytes = b"application/json"
    body: Callable[[Any, Mapping[bytes, bytes], str], bytes]


class Operation(Struct, frozen=True, kw_only=True, eq=False):
    """What a path below ``/api/api-tokens`` answers to one method.

    ``permissions``: any of them will do. ``query_like`` says that it changes nothing for all its method, looks after
    permissions itself, and says itself what is a use of an API token. ``body`` is the type of what has to be sent as
    JSON, ``form`` that of the same as a form. ``status`` and ``schema`` are those of the answer, ``faults`` the
    statuses beside those that every operation may answer with.
    """

    name: str
    text: str
    schema: str
    status: int = 200
    permissions: tuple[str, ...] = ("api-tokens",)
    query_like: bool = False
    parameters: Mapping[str, Parameter] = {}
    faults: tuple[int, ...] = ()
    body: type[Struct] | None = None
    form: type[Struct] | None = None
    run: Callable[[Operations, Call], Awaitable[Reply]]


class Resource(Struct, frozen=True, kw_only=True, eq=False):
    """A path below ``/api/api-tokens``, and its operations by their methods; HEAD is that of GET."""

    path: str
    operations: Mapping[str, Operation]
    permissions: tuple[str, ...] = ()  # who asks, and what he may, its operations' own code finds out

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Those of any of its operations."""
        return {name: one for operation in self.operations.values() for name, one in operation.parameters.items()}

    @property
    def methods(self) -> list[str]:
        """The methods that it knows."""
        known = [*self.operations]
        return [*known[:1], *(["HEAD"] if "GET" in known else []), *known[1:], "OPTIONS"]


NOWHERE = Resource(path="unmatched", operations={})
"""Stands for what is not there below ``/api/api-tokens``."""

Route = Endpoint | Service | Resource


def is_api_tokens(path: bytes) -> bool:
    """Tell whether a raw path, with a query or without, is that of API tokens or below it."""
    path = path.partition(b"?")[0]
    return path == API_TOKENS.encode() or path.startswith(API_TOKENS.encode() + b"/")


class Routes:
    """Endpoints by their paths: ``{id}`` stands for any one segment, ``/`` within it being written %2F.

    A segment that an endpoint has literally is never another's id.
    """

    def __init__(self, endpoints: tuple[Route, ...]) -> None:
        self.endpoints = endpoints
        self._by_length: dict[int, list[tuple[tuple[bytes, ...], Route]]] = {}
        for endpoint in sorted(endpoints, key=lambda one: "{" in one.path):
            parts = tuple(endpoint.path.encode().split(b"/"))
            self._by_length.setdefault(len(parts), []).append((parts, endpoint))

        self.find = lru_cache(maxsize=1024)(self._find)

    def _find(self, path: bytes) -> tuple[Route, tuple[str, ...]] | None:
        """The endpoint that a raw path names, and the ids in it; None where there is none."""
        given = path.split(b"/")
        for parts, endpoint in self._by_length.get(len(given), ()):
            ids = []
            for part, text in zip(parts, given, strict=True):
                if part == text:
                    continue
                if not part.startswith(b"{") or not text:
                    break
                ids.append(text)
            else:
                return endpoint, tuple(map(_decoded, ids))
        return (NOWHERE, ()) if is_api_tokens(path) else None


def _decoded(text: bytes) -> str:
    """An id; what is no UTF-8 is the id of nothing, and stays so by signs that no id has."""
    return unquote_to_bytes(text).decode(errors="replace") if b"%" in text else text.decode("latin-1")
