"""The address of a server: what a base URL may be, and how it appears in messages."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

from tokctl.errors import UsageError
from tokctl.text import one_line

SECRET_PREFIX = "xvc_"  # noqa: S105 - the same as in api_tokens.secrets, which takes longer to import
DEFAULT_PORTS = {"http": 80, "https": 443}

_EXAMPLE = "Write it as in https://engine.example.org:27555."
_ELSEWHERE = "Remove it; a credential is set by 'tokctl auth login' or TOKCTL_API_KEY."
_PATH_CHARACTERS = "/%:@!$&'()*+,;=-._~"  # not encoded in a path; RFC 3986, section 3.3
_MAX_DISPLAY_LENGTH = 160


class ServerAddress(NamedTuple):
    """The address of a server.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a name or an IP address, without brackets.
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
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def display_address(self) -> str:
        """The address for messages: one line of at most 160 characters."""
        return f"unix:{self.socket}" if self.socket else one_line(self.origin + self.path, _MAX_DISPLAY_LENGTH)

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

    Raises:
        UsageError: the URL is invalid, or it contains a credential, a query or a fragment. The message does not repeat
            a URL that may contain a password.
    """
    text = url.strip()
    if not text.isprintable() or any(sign.isspace() or sign == "\\" for sign in text):
        raise UsageError("the server URL contains a space, a backslash or a control character.", _EXAMPLE)
    if not text:
        raise UsageError("the server URL is empty.", _EXAMPLE)
    if SECRET_PREFIX in text:
        raise UsageError("the server URL contains a secret, which others can see.", _ELSEWHERE)
    quoted = "the server URL" if "@" in text else f"the server URL '{one_line(text, _MAX_DISPLAY_LENGTH)}'"
    if text.startswith("unix:"):
        path = "/" + text.removeprefix("unix:").lstrip("/")
        if path == "/":
            raise UsageError(f"{quoted} has no socket path.", "Use a URL such as unix:///run/tokctl.sock.")
        return ServerAddress("http", "localhost", None, "", path)
    return _parse_http_url(text, quoted)


def _parse_http_url(text: str, quoted: str) -> ServerAddress:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{quoted} has no host, or its port is not from 1 to 65535.", _EXAMPLE) from None
    if parts.scheme not in DEFAULT_PORTS:
        if "://" not in text and "@" not in text:
            raise UsageError(f"{quoted} has no scheme.", f"Use http://{text} or https://{text}.")
        raise UsageError(f"{quoted} is neither http nor https.", _EXAMPLE)
    if "@" in parts.netloc:
        raise UsageError("the server URL contains a user name or a password, which others can see.", _ELSEWHERE)
    if not host or port == 0:
        raise UsageError(f"{quoted} has no host, or its port is not from 1 to 65535.", _EXAMPLE)
    if "?" in text or "#" in text:
        raise UsageError("the server URL has a query or a fragment, which is not allowed.", _EXAMPLE)
    return ServerAddress(parts.scheme, host, port, quote(parts.path, safe=_PATH_CHARACTERS).rstrip("/"))
