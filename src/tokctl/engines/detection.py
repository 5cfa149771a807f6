"""Which kind of server an address leads to, and where the root of its API is.

Each kind has a request that recognizes it, its probe, and usual roots. Detection sends the probes in the order in which
the address makes them likely, until one is recognized. They carry no credential unless the server asks for one, and a
password that it rejects is not sent again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from tokctl.client.credential import LOGIN_HINT, wants_password
from tokctl.config.keys import ENGINE_KINDS
from tokctl.config.remembered_servers import ENGINE_SERVERS, RememberedServer
from tokctl.engines.connect import adopt_server, adopted_settings, create_client, warn
from tokctl.errors import NotAllowedError, UsageError
from tokctl.kinds import BASIC_KINDS, FALLBACK_ENGINE, SERVER_ENGINES
from tokctl.server_address import ServerAddress, parse_url
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.client import Client, ClientResponse, Connection
    from tokctl.config import Settings

API_PREFIX = "/api/v1"
"""What the engines of the kinds rest and atomd append to the root; it may also be part of the given address."""
APPLICATION_PORTS = frozenset({8080, 8090, 8443})
"""Ports of Java application servers, on which Camunda and Flowable are likely."""
_NAMED_ENGINE = re.compile(r"/engine/[^/]+$")  # another process engine of a Camunda server
_PAGE = re.compile(
    r"(?:/[^/]+)?/app/(?:welcome|cockpit|tasklist|admin)(?:/.*)?$"  # the web applications of Camunda
    r"|/(?:[^/]+-welcome|swaggerui|docs|webapp|(?:api/)?api-tokens)(?:/.*)?$|/openapi\.json$"
)
"""Ends of paths that lead to web pages beside the API, or to its description."""
_RESPONSES = (*range(400, 418), 422, 426, 429, 451, *range(500, 512))
_TEMPORARY = frozenset({401, 403, 407, 429, 500, 502, 503, 504})
"""Statuses after which the same request may be recognized later."""


class DetectedServer(NamedTuple):
    """The kind of a server and the root of its API. It is ``certain`` if a probe showed it, or none may later.

    ``recognized``: a probe showed it.
    """

    kind: str
    url: str
    certain: bool = True
    recognized: bool = False


class Candidate(NamedTuple):
    """A kind that a server may be of, with the path of the root of its API."""

    kind: str
    root: str


def resolve_server(settings: Settings) -> Settings:
    """Return settings with the kind and the root of the server: as set, as remembered, or as detected.

    Raises:
        UsageError: the settings name an unknown kind.
        NotAllowedError: the server rejects the credential, or requires a user name and a password.
        UnreachableError, UntrustedError: the server must be asked, but the request fails.
    """
    check_engine_kind(settings.engine_kind)
    known = adopted_settings(settings)
    if known is not None:
        return known
    address = parse_url(settings.server or "")
    found = find_server(create_client(settings).connection, address, settings.engine_kind)
    return adopt_server(settings, found.kind, found.url)


def find_server(connection: Connection, address: ServerAddress, kind: str | None) -> DetectedServer:
    """Return the kind and the root of a server: as remembered, or else as ``detect_server``, and remember them."""
    known = ENGINE_SERVERS.load(address.display_address)
    if known is not None and kind in {None, known.kind}:
        return DetectedServer(known.kind, known.url or _url(address, _root_path(address)))
    detected = detect_server(connection, address, kind)
    remember(address, detected)
    return detected


def check_engine_kind(kind: str | None) -> None:
    """Raise UsageError if a kind of server is unknown."""
    if kind is not None and kind not in ENGINE_KINDS:
        raise UsageError(
            f"unknown engine kind '{kind}'{suggest(kind, ENGINE_KINDS)}.", f"Valid: {', '.join(ENGINE_KINDS)}."
        )


def remember(address: ServerAddress, detected: DetectedServer) -> None:
    """Remember a server that was detected with certainty."""
    if detected.certain:
        same = detected.url == _url(address, address.path)
        ENGINE_SERVERS.remember(address.display_address, RememberedServer(detected.kind, "" if same else detected.url))


def _leave_page(address: ServerAddress) -> ServerAddress:
    """Return the address without the path of a web page, as it is copied from a browser."""
    return address._replace(path=_PAGE.sub("", address.path))


def _root_path(address: ServerAddress) -> str:
    """Return the path of an address without ``/api/v1`` at its end: engines append that, or do not have it."""
    return address.path.removesuffix(API_PREFIX)


def _url(address: ServerAddress, path: str) -> str:
    return f"unix:{address.socket}" if address.socket else address.origin + path


# --- candidates -----------------------------------------------------------------------------------


def list_candidates(address: ServerAddress, kind: str | None = None) -> list[Candidate]:
    """Return what a server may be, the likeliest first: by the end of the path, then by the port."""
    basic_first = address.port in APPLICATION_PORTS
    kinds = [kind] if kind else sorted(SERVER_ENGINES, key=lambda one: (one in BASIC_KINDS) != basic_first)
    named = [Candidate(one, _root_path(address)) for one in kinds if _is_named(address, one)]
    rounds = [_list_roots(address, one) for one in kinds]
    others = [
        Candidate(one, roots[number])
        for number in range(max(map(len, rounds)))
        for one, roots in zip(kinds, rounds, strict=True)
        if number < len(roots)
    ]
    if named and not address.path.endswith(API_PREFIX):  # the path says what it is: a root below it is unlikely
        others = [one for one in others if one.kind not in BASIC_KINDS]
    found = [(one, _find_root_within(address, one)) for one in kinds if not named]
    beyond = [Candidate(one, root) for one, root in found if root is not None]
    return list(dict.fromkeys(named + beyond + others))


def _is_named(address: ServerAddress, kind: str) -> bool:
    """Tell whether the path ends like the root of a kind's API."""
    if kind not in BASIC_KINDS:
        return address.path.endswith(API_PREFIX)
    path = _NAMED_ENGINE.sub("", _root_path(address))
    return any(root and path.endswith(root) for root in _usual_roots(kind))


def _find_root_within(address: ServerAddress, kind: str) -> str | None:
    """Return the root of an API if the address is that of a resource below it, else None."""
    if kind not in BASIC_KINDS:
        root, prefix, _ = address.path.partition(f"{API_PREFIX}/")
        return root if prefix else None
    places = [
        found.end("root")
        for root in _usual_roots(kind)
        if root and (found := re.search(f"(?P<root>{re.escape(root)}(?:/engine/[^/]+(?=/.))?)/", address.path))
    ]
    return address.path[: max(places)] if places else None


def _usual_roots(kind: str) -> list[str]:
    """Return the paths of the usual roots of a kind, with a slash at the beginning; '' is the address itself."""
    roots = [root.strip("/") for root in import_module(SERVER_ENGINES[kind]).ROOTS]
    return [f"/{root}" if root else "" for root in roots]


def _list_roots(address: ServerAddress, kind: str) -> list[str]:
    """Return the paths where the root of a kind's API may be."""
    usual = _usual_roots(kind)
    path = _root_path(address)
    if address.socket:
        return [""]  # the URL of a socket has no path
    if not path:
        return list(usual)
    within = [root for root in usual if root.startswith(f"{path}/")]
    return [*within, path, *(path + root for root in usual if root and root not in within)]


# --- probes ---------------------------------------------------------------------------------------


def detect_server(connection: Connection, address: ServerAddress, kind: str | None = None) -> DetectedServer:
    """Return the kind of the server at an address; with ``kind`` only the root of that kind's API is looked for.

    Raises as ``resolve_server``.
    """
    address = _leave_page(address)
    candidates = list_candidates(address, kind)
    if kind is not None and (len(candidates) == 1 or kind not in BASIC_KINDS or _is_named(address, kind)):
        return DetectedServer(kind, _url(address, candidates[0].root), certain=False)
    prober = Prober(connection, address)
    try:
        for candidate in candidates:
            module = import_module(SERVER_ENGINES[candidate.kind])
            base = _NAMED_ENGINE.sub("", candidate.root) if candidate.kind in BASIC_KINDS else candidate.root
            if module.recognizes(prober.fetch(base, module.PROBE, candidate.kind)):
                return DetectedServer(candidate.kind, _url(address, candidate.root), recognized=True)
    finally:
        prober.close()
    if prober.asks_for_password:
        raise NotAllowedError(f"{address.display_address} requires a user name and a password.", LOGIN_HINT)
    if kind is not None:
        return DetectedServer(kind, _url(address, candidates[0].root), certain=False)
    fallback = _url(address, _root_path(address))
    return DetectedServer(FALLBACK_ENGINE, fallback, certain=not prober.statuses & _TEMPORARY)


class Prober:
    """Sends the probes to one server: without a credential, until the server asks for one.

    ``statuses`` are those of all responses; ``asks_for_password`` tells that the server asked for one that is missing.
    """

    def __init__(self, connection: Connection, address: ServerAddress) -> None:
        self._connection = replace(connection, url=_url(address, ""), given_url=address.url)
        self._anonymous = self._create_client(basic=False)
        self._authenticated: Client | None = None
        self._documents: dict[tuple[str, ...], Any] = {}
        self._tried = False
        self.statuses: set[int] = set()
        self.asks_for_password = False

    def _create_client(self, *, basic: bool) -> Client:
        from tokctl.client import Client

        return Client(replace(self._connection, basic=basic), warn=warn)

    def close(self) -> None:
        """Close the connections."""
        self._anonymous.close()
        if self._authenticated is not None:
            self._authenticated.close()

    def fetch(self, root: str, probe: Sequence[str], kind: str) -> Any:
        """Return the JSON document of a probe, fetched once; None if the response is not JSON."""
        segments = (*(unquote(one) for one in root.split("/") if one), *probe)
        if segments not in self._documents:
            self._documents[segments] = _decode(self._get(segments, kind))
        return self._documents[segments]

    def _get(self, segments: Sequence[str], kind: str) -> ClientResponse:
        if self._authenticated is None:
            answer = self._anonymous.get(segments, accept=_RESPONSES, with_credential=False)
            if answer.status not in {401, 403} or not self._authenticate(answer.headers, kind):
                self.statuses.add(answer.status)
                return answer
        assert self._authenticated is not None  # noqa: S101 - for mypy
        password = self._authenticated.connection.basic
        accept = [status for status in _RESPONSES if status != 401] if password else _RESPONSES
        answer = self._authenticated.get(segments, accept=accept)  # raises if the password is rejected
        self.statuses.add(answer.status)
        if answer.status == 401:
            self._authenticated.close()
            self._authenticated = None
        return answer

    def _authenticate(self, headers: Mapping[str, str], kind: str) -> bool:
        """Use the credential from now on, if there is one that may help and was not tried yet."""
        if self._tried:
            return False
        secret = self._connection.credential()
        asks_for_password = wants_password(headers)
        is_password = ":" in (secret or "") and (asks_for_password or kind in BASIC_KINDS)
        self.asks_for_password = asks_for_password and not is_password
        if not secret or self.asks_for_password:
            return False
        self._tried = True
        self._authenticated = self._create_client(basic=is_password)
        return True


def _decode(answer: ClientResponse) -> Any:
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
