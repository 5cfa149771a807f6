"""Which kind of server with API tokens an address leads to, and where the root of its API is.

Each kind has a request that recognizes it, its probe; kinds that share a probe share its response. Probes carry no
credential: a server tells its kind by what it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from msgspec.structs import replace

from tokctl.api_tokens.registries.server_kind import ServerKind
from tokctl.client import Client, ClientResponse, Connection
from tokctl.config.remembered_servers import REGISTRY_SERVERS, RememberedServer
from tokctl.errors import UsageError
from tokctl.kinds import FALLBACK_REGISTRY, SERVER_REGISTRIES
from tokctl.server_address import ServerAddress, parse_url
from tokctl.text import suggest

_STATUSES = (*range(400, 418), 422, 426, 429, 451, *range(500, 512))


class FoundRegistry(NamedTuple):
    """The kind of a server and the root of its API. It is ``certain`` if the kind was recognized, or set."""

    kind: str
    url: str
    certain: bool = True

    @property
    def server_kind(self) -> ServerKind:
        """What the kind does."""
        return load_kind(self.kind)

    def apply_to(self, connection: Connection) -> Connection:
        """Return how to reach the root of the API."""
        return replace(connection, url=self.url, rejection_hint=self.server_kind.rejection_hint)


def load_kind(name: str) -> ServerKind:
    """Return a kind of server by its name."""
    kind: ServerKind = import_module(SERVER_REGISTRIES[name]).KIND
    return kind


def check_registry_kind(kind: str | None) -> None:
    """Raise UsageError if a kind of server is unknown."""
    if kind is not None and kind not in SERVER_REGISTRIES:
        raise UsageError(
            f"unknown registry kind '{kind}'{suggest(kind, SERVER_REGISTRIES)}.",
            f"Valid: {', '.join(SERVER_REGISTRIES)}.",
        )


def find_registry(
    connection: Connection, kind: str | None = None, *, warn: Callable[[str], object], fresh: bool = False
) -> FoundRegistry:
    """Return the kind and the root of a server: as set, as remembered, or as detected by one or two requests.

    A kind that is recognized is remembered; with ``fresh`` it is detected even if it is remembered already. A server
    that no kind recognizes is of the kind that needs least.

    Raises UsageError: the kind is unknown. TokctlError: the server must be asked, but the request fails.
    """
    check_registry_kind(kind)
    address = parse_url(connection.url)
    if kind is not None:
        return FoundRegistry(kind, _root(address, kind))
    known = None if fresh else REGISTRY_SERVERS.load(address.display_address)
    if known is not None:
        return FoundRegistry(known.kind, known.url or connection.url)
    found = _detect(connection, address, warn)
    if found.certain:
        same = found.url == _url(address, address.path)
        REGISTRY_SERVERS.remember(address.display_address, RememberedServer(found.kind, "" if same else found.url))
    return found


def forget_kind(connection: Connection) -> bool:
    """Forget the kind of a server; returns whether it was remembered."""
    return bool(REGISTRY_SERVERS.forget(parse_url(connection.url).display_address))


def _detect(connection: Connection, address: ServerAddress, warn: Callable[[str], object]) -> FoundRegistry:
    asked: set[tuple[str, tuple[str, ...]]] = set()
    for name in SERVER_REGISTRIES:
        kind = load_kind(name)
        root = _root(address, name)
        if (root, kind.probe.segments) in asked:
            continue
        asked.add((root, kind.probe.segments))
        answer = _send_probe(replace(connection, url=root), kind, warn)
        for other in SERVER_REGISTRIES:
            if load_kind(other).recognizes(answer):
                return FoundRegistry(other, _root(address, other))
    return FoundRegistry(FALLBACK_REGISTRY, _root(address, FALLBACK_REGISTRY), certain=False)


def _send_probe(connection: Connection, kind: ServerKind, warn: Callable[[str], object]) -> ClientResponse:
    with Client(connection, warn=warn) as client:
        return client.get(kind.probe.segments, kind.probe.params, accept=_STATUSES, with_credential=False)


def _root(address: ServerAddress, kind: str) -> str:
    """Return the root of the API of a kind of server: the address without the usual paths below it."""
    for ending in load_kind(kind).address_endings:
        root, found, _ = f"{address.path}/".rpartition(f"{ending}/")
        if found:
            return _url(address, root)
    return _url(address, address.path)


def _url(address: ServerAddress, path: str) -> str:
    return f"unix:{address.socket}" if address.socket else address.origin + path
