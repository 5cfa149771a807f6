"""Addresses: the base URL of a server, and the paths and queries that are put behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from tokctl.client.text import one_line
from tokctl.errors import UsageError

_EXAMPLE = "Write it as in https://engine.example.org:27555."
_ELSEWHERE = "Leave it out; a credential is set by 'tokctl auth login' or TOKCTL_API_KEY."
_MARK = "xvc_"  # of secrets, as access.secret has it, which takes a while to import
_PATH_SIGNS = "/%:@!$&'()*+,;=-._~"  # what may stand in a path as it is; RFC 3986, 3.3
_LONGEST_SHOWN = 160


class Base(NamedTuple):
    """A server's address: ``path`` begins with a slash or is empty, ``socket`` is a Unix socket's file."""

    scheme: str
    host: str
    port: int | None
    path: str = ""
    socket: str | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def shown(self) -> str:
        """The address as it stands in messages."""
        return f"unix:{self.socket}" if self.socket else one_line(self.origin + self.path, _LONGEST_SHOWN)

    def shown_with(self, target: str) -> str:
        """The address of a request: without its query, and shortened, as ids can be long."""
        path = target.partition("?")[0]
        return one_line(f"unix:{self.socket} {path}" if self.socket else self.origin + path, _LONGEST_SHOWN)

    @property
    def is_local(self) -> bool:
        """Whether what is sent there stays on this machine."""
        return self.socket is not None or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or number alone."""
    from ipaddress import ip_address

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str) -> str:
    """Return the URL of a server as it is shown, if it is one. Raises UsageError."""
    return parse_url(url).shown


def parse_url(url: str) -> Base:
    """Take the base URL of a server apart.

    Raises:
        UsageError: it cannot be one, or it holds what belongs elsewhere. A URL with a password is not quoted.
    """
    text = url.strip()
    if not text.isprintable() or any(sign.isspace() or sign == "\\" for sign in text):
        raise UsageError("the server's URL holds a blank, a backslash or a control character.", _EXAMPLE)
    if not text:
        raise UsageError("the server's URL is empty.", _EXAMPLE)
    if _MARK in text:
        raise UsageError("the server's URL holds a secret, which others can see.", _ELSEWHERE)
    quoted = "the server's URL" if "@" in text else f"the server's URL '{one_line(text, _LONGEST_SHOWN)}'"
    if text.startswith("unix:"):
        path = "/" + text.removeprefix("unix:").lstrip("/")
        if path == "/":
            raise UsageError(f"{quoted} names no socket.", "Write it as in unix:///run/tokctl.sock.")
        return Base("http", "localhost", None, "", path)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{quoted} names no host, or no port from 1 to 65535.", _EXAMPLE) from None
    if parts.scheme not in {"http", "https"}:
        if "://" not in text and "@" not in text:
            raise UsageError(f"{quoted} has no scheme.", f"Write http://{text} or https://{text}.")
        raise UsageError(f"{quoted} is neither http nor https.", _EXAMPLE)
    if "@" in parts.netloc:
        raise UsageError("the server's URL holds a user name or a password, which others can see.",
                         _ELSEWHERE)  # fmt: skip
    if not host or port == 0:
        raise UsageError(f"{quoted} names no host, or no port from 1 to 65535.", _EXAMPLE)
    if "?" in text or "#" in text:
        raise UsageError("the server's URL has a query or a fragment, which the address of a server cannot have.",
                         _EXAMPLE)  # fmt: skip
    return Base(parts.scheme, host, port, quote(parts.path, safe=_PATH_SIGNS).rstrip("/"))


def target(base: Base, segments: Sequence[str], params: Mapping[str, str | Sequence[str]]) -> str:
    """Return the path and query of a request, in ASCII; each segment stays one, whatever it holds.

    Raises:
        UsageError: a segment cannot be put into a path.
    """
    path = base.path + "".join(f"/{_segment(text)}" for text in segments)
    pairs = [(name, one) for name, value in params.items() for one in ([value] if isinstance(value, str) else value)]
    try:
        return f"{path}?{urlencode(pairs, quote_via=quote)}" if pairs else path
    except UnicodeEncodeError:
        raise UsageError("a filter holds characters that are none in Unicode.") from None


def _segment(text: str) -> str:
    if not text:
        raise UsageError("an id is empty.", "Name an instance, a token or a process.")
    if "\0" in text:
        raise UsageError(f"the id '{one_line(text, 60)}' holds a NUL character; no server has such an id.")
    if text in {".", ".."}:
        return text.replace(".", "%2E")  # as they are they would be a step within the path
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise UsageError(f"the id '{one_line(text, 60)}' holds characters that are none in Unicode.") from None
