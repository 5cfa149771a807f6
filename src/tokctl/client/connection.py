"""The settings of a client, its requests, and the responses that it returns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from tokctl.model.rates import RequestRate
from tokctl.version import __version__


class Connection(Struct, frozen=True, repr_omit_defaults=True):
    """Where a server is and how to connect to it."""

    url: str  # the base URL; the path of each request is appended to it
    given_url: str = ""  # the address that the user gave, if it differs; messages correct it
    credential: Callable[[], str | None] = lambda: None
    """Returns the credential, or None; called once, by the first request that needs it."""
    rejection_hint: Callable[[str | None], str] = lambda _: ""
    """Returns what to do after a 401, given the credential that was sent; '' for the usual hint."""
    basic: bool = False  # send a credential of the form user:password as HTTP Basic
    ca_file: str | None = None  # PEM, the certificates to trust; None for the platform's
    insecure: bool = False  # accept any certificate
    timeout: float = 30.0  # seconds to wait for each part of a response
    connect_timeout: float = 5.0  # seconds to wait for a connection to one IP address
    rate: RequestRate | None = None  # maximum rate of requests
    retries: int = 3  # the maximum number of further attempts after a transient failure
    max_bytes: int = 1 << 30  # of a response that is read as a stream, decompressed
    max_document_bytes: int = 64 << 20  # of a response that is read as a whole, decompressed
    max_document_values: int = 2_000_000  # of the JSON in it: 64 bytes or more in memory each, 3 in the response
    user_agent: str = f"tokctl/{__version__}"

    def __repr__(self) -> str:
        # Neither the credential's repr, which may contain a secret, nor a URL with a password.
        return f"Connection(to {'…' if '@' in self.url else self.url!r})"


class ClientRequest(NamedTuple):
    """A request. ``target`` is the path and query; ``accept`` has statuses besides the 200s that are no errors.

    ``repeatable`` tells that it does no harm if the server processes it twice.
    """

    method: str
    target: str
    headers: Mapping[str, str] = {}
    accept: Collection[int] = ()
    content: bytes | None = None
    with_credential: bool = True
    repeatable: bool = False


class ClientResponse(Struct, frozen=True):
    """The response of a server."""

    status: int  # in the 200s, or another one that the caller accepts
    body: bytes  # decompressed
    headers: Mapping[str, str]  # by their names in lower case
    elapsed: float = 0.0  # seconds from the request to the last byte
    url: str = ""  # for messages: without the query and without secrets
    mask_secrets: Callable[[str], str] = lambda text: text
    """Masks the credential in a text of the server, which may have repeated it."""

    def __repr__(self) -> str:  # without the body, which may contain a new secret
        return f"ClientResponse({self.status}, {len(self.body):,} bytes, {self.url!r})"


class CredentialProbe(NamedTuple):
    """A cheap GET request that a server refuses without a valid credential, if it requires one at all.

    ``segments`` are those of the path below the root of the API. Engine modules of servers have one as
    ``CREDENTIAL_PROBE``, kinds of registries as ``probe``.
    """

    segments: tuple[str, ...]
    params: Mapping[str, str] = MappingProxyType({})
