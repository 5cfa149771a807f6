"""The address of a server: what a base URL may be, and how it appears in messages."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from tokctl.errors import UsageError
from tokctl.text import one_line

SECRET_PREFIX = "xvc_"  # noqa: S105 - the same as in api_tokens.secrets, which takes longer to import
DEFAULT_PORTS = {"http": 80, "https": 443}

_EXAMPLE = "Write it as in https://engine.example.org:27555."
_ELSEWHERE = "Remove it; a credential is set by 'tokctl auth login' or TOKCTL_API_KEY."
_QUOTES = " '\"`<>\u2018\u2019\u201c\u201d"
"""Characters around an address that was copied from a text."""
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[0-9]*)?")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")
_PATH_CHARACTERS = "/%:@!$&'()*+,;=-._~"  # not encoded in a path; RFC 3986, section 3.3
_MAX_DISPLAY_LENGTH = 160


class ServerAddress(NamedTuple):
    """The address of a server.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a name or an IP address; one of IPv6 without brackets and in its shortest form, perhaps with a zone, such
            as ``fe80::1%eth0``.
        port: None for the default of the scheme.
        path: begins with a slash, or is empty.
        socket: the path of a Unix socket; None for TCP.
    """

    scheme: str
    host: str
    port: int | None
    path: str = ""
    socket: str | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as in a URL."""
        host = self.host
        if ":" in host:
            host = f"[{host.replace('%25', '%2525')}]"  # else the number of a zone such as 251 would be read as 1
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def effective_port(self) -> int:
        """The port, also if it is the default of the scheme."""
        return DEFAULT_PORTS.get(self.scheme, 0) if self.port is None else self.port

    @property
    def host_name(self) -> str:
        """The host without the zone of an IPv6 address, which has a meaning on this machine only (RFC 4007)."""
        return self.host.partition("%")[0]

    @property
    def url(self) -> str:
        """The address as ``parse_url`` reads it."""
        return f"unix:{self.socket}" if self.socket else self.origin + self.path

    @property
    def display_address(self) -> str:
        """The address for messages: one line of at most 160 characters."""
        return self.url if self.socket else one_line(self.url, _MAX_DISPLAY_LENGTH)

    def display_target(self, target: str) -> str:
        """Return the address of a request for messages: without the query, and shortened, as ids can be long."""
        path = target.partition("?")[0]
        return one_line(f"unix:{self.socket} {path}" if self.socket else self.origin + path, _MAX_DISPLAY_LENGTH)

    @property
    def is_local(self) -> bool:
        """Whether requests to this address stay on this machine."""
        return self.socket is not None or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or IP address alone."""
    from ipaddress import ip_address

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str) -> str:
    """Return the base URL of a server in its display form.

    Raises:
        UsageError: as ``parse_url``.
    """
    return parse_url(url).display_address


def parse_url(url: str) -> ServerAddress:
    """Parse the base URL of a server: ``http://``, ``https://``, or ``unix:`` and the path of a socket.

    Spaces and quotation marks around it are ignored.

    Raises:
        UsageError: the URL is invalid, or it contains a credential, a query or a fragment. The message has the address
            to use instead if there is one, but neither a password nor a query, which may contain a secret.
    """
    text = url.strip().strip(_QUOTES)
    if not text.isprintable() or any(sign.isspace() or sign == "\\" for sign in text):
        raise UsageError("the server URL contains a space, a backslash or a control character.", _EXAMPLE)
    if not text:
        raise UsageError("the server URL is empty.", _EXAMPLE)
    if SECRET_PREFIX in text:
        raise UsageError("the server URL contains a secret, which others can see.", _ELSEWHERE)
    if text.startswith("unix:"):
        path = "/" + text.removeprefix("unix:").lstrip("/")
        if path == "/":
            raise UsageError(f"{_quote(text)} has no socket path.", "Use a URL such as unix:///run/tokctl.sock.")
        return ServerAddress("http", "localhost", None, "", path)
    return _parse_http_url(text)


def _quote(text: str) -> str:
    """Return how a message names an invalid URL: without a query and a fragment, and not at all with an ``@``."""
    if "@" in text:
        return "the server URL"
    return f"the server URL '{one_line(_without_query(text), _MAX_DISPLAY_LENGTH)}'"


def _without_query(text: str) -> str:
    return text.partition("#")[0].partition("?")[0]


def _parse_http_url(text: str) -> ServerAddress:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _host_error(text, text.partition("://")[2]) from None
    if parts.scheme not in DEFAULT_PORTS:
        if "://" not in text and "@" not in text:
            raise _scheme_error(text)
        raise UsageError(f"{_quote(text)} is neither http nor https.", _EXAMPLE)
    try:
        host, port = _split_host(parts)
    except ValueError:
        if "@" in parts.netloc:
            raise _credential_error("") from None
        raise _host_error(text, parts.netloc) from None
    address = ServerAddress(parts.scheme, host, port, quote(parts.path, safe=_PATH_CHARACTERS).rstrip("/"))
    # If there is an @ outside of the host, a part of a password may have been read as the host or the path.
    use = "" if "@" in text.replace(parts.netloc, "", 1) else f"Use {address.display_address}"
    if "@" in parts.netloc:
        raise _credential_error(use)
    if "?" in text or "#" in text:
        raise UsageError(
            "the server URL has a query or a fragment, which is not a part of the address.",
            f"{use}." if use else _EXAMPLE,
        )
    return address


def _split_host(parts: SplitResult) -> tuple[str, int | None]:
    """Return the host and the port of a URL. Raises ValueError: one of them is invalid."""
    host, port = parts.hostname or "", parts.port
    place = parts.netloc.rpartition("@")[2]
    if "[" in place or "]" in place:
        literal = _BRACKETED.fullmatch(place)
        host = "" if literal is None else _shorten_ipv6(literal[1])
    if not host or port == 0:
        raise ValueError
    return host, port


def _shorten_ipv6(text: str) -> str:
    """Return an IPv6 address in its shortest form. The zone may follow ``%`` (RFC 9844) or ``%25`` (RFC 6874).

    Raises ValueError: it is none.
    """
    from socket import AF_INET6, inet_ntop, inet_pton

    address, percent, zone = text.partition("%")
    zone = zone.removeprefix("25") or zone
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError
    try:
        return inet_ntop(AF_INET6, inet_pton(AF_INET6, address)) + percent + zone
    except OSError:
        raise ValueError from None


def _scheme_error(text: str) -> UsageError:
    place = _without_query(text)
    host, slash, path = place.partition("/")
    try:
        place = f"[{_shorten_ipv6(host)}]{slash}{path}"
        port = f" A port follows the brackets, as in http://[{_shorten_ipv6(host)}]:8080."
    except ValueError:
        port = ""
    return UsageError(f"{_quote(text)} has no scheme.", f"Use http://{place} or https://{place}.{port}")


def _host_error(text: str, place: str) -> UsageError:
    if place.partition("/")[0].count(":") > 1 and "[" not in place:
        return UsageError(
            f"{_quote(text)} has an IPv6 address without brackets.", "Write it as in http://[2001:db8::1]:27555."
        )
    return UsageError(f"{_quote(text)} has no host, or its port is not from 1 to 65535.", _EXAMPLE)


def _credential_error(use: str) -> UsageError:
    return UsageError(
        "the server URL contains a user name or a password, which others can see.",
        f"{use}, and set the credential with 'tokctl auth login' or TOKCTL_API_KEY." if use else _ELSEWHERE,
    )
