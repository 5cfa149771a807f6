"""Which proxy a server is reached through: from the environment, or from the system settings of macOS and Windows.

``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` are read as by Python's ``urllib``: a name in lower case wins.
``NO_PROXY`` is read as by curl; in addition it may contain ports and ``*.domain``.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from tokctl.errors import UsageError
from tokctl.server_address import ServerAddress

_SYSTEM = "the system settings"
_WITH_PORT = re.compile(r"\[(?P<literal>[^\]]*)\](?::(?P<port>[0-9]+))?|(?P<name>[^:]*):(?P<number>[0-9]+)")


class Proxy(NamedTuple):
    """A proxy.

    Attributes:
        url: without user and password, so that it may appear in messages.
        auth: these two.
        source: the environment variable that names the proxy, or "the system settings".
    """

    url: str
    auth: tuple[bytes, bytes] | None
    source: str

    def __repr__(self) -> str:
        return f"Proxy({self.url!r}, {self.source!r})"

    def __str__(self) -> str:
        return f"{self.url} ({self.source})"


def proxy_for(base: ServerAddress) -> Proxy | None:
    """Return the proxy for a server; None for a direct connection.

    A server on this machine is never reached through a proxy, for which "localhost" is another machine; nor is an
    address with a zone, which has a meaning on this machine only. Raises UsageError: it is not an HTTP or HTTPS proxy.
    """
    if base.is_local or "%" in base.host:
        return None
    proxies = getproxies()
    name = base.scheme if proxies.get(base.scheme) else "all"
    url = proxies.get(name)
    if not url:
        return None
    source = _variable(name)
    exempt = is_exempt(base, proxies.get("no", "")) if source else proxy_bypass(base.host)
    return None if exempt else _parse_proxy(url, source or _SYSTEM)


def _variable(name: str) -> str:
    """Return the environment variable with the proxy for a scheme; '' if there is none."""
    return max((one for one in os.environ if one.lower() == f"{name}_proxy"), default="")  # lower case sorts last


def is_exempt(base: ServerAddress, exceptions: str) -> bool:
    """Tell whether NO_PROXY lists a server.

    ``*`` alone is every server. ``domain`` and ``.domain`` are a host and its subdomains, ``*.domain`` the subdomains
    only. An IP address, or a network such as ``10.0.0.0/8``, is compared with hosts that are IP addresses; names are
    not looked up. ``:port`` after any of them restricts it to that port. Commas or spaces separate them.
    """
    return exceptions.strip() == "*" or any(_matches(one, base) for one in re.split(r"[\s,]+", exceptions.lower()))


def _matches(entry: str, base: ServerAddress) -> bool:
    name, port = entry, None
    if found := _WITH_PORT.fullmatch(entry):
        name, port = found["literal"] or found["name"] or "", found["port"] or found["number"]
    if port is not None and int(port[:9]) != base.effective_port:
        return False
    host = base.host.lower().rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        return _is_within(host, name)
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False


def _is_within(host: str, name: str) -> bool:
    only_below = name.startswith("*.")
    domain = name.removeprefix("*." if only_below else ".").rstrip(".")
    return bool(domain) and (host.endswith(f".{domain}") or (host == domain and not only_below))


def _parse_proxy(url: str, source: str) -> Proxy:
    hint = f"Set {source} to a URL such as http://proxy.example.org:3128, or add the server to NO_PROXY."
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not host.isprintable():
        raise UsageError(f"invalid proxy URL in {source}.", hint)
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"unsupported proxy scheme '{parts.scheme}' in {source}.", hint)
    named = ServerAddress(parts.scheme, host, port).origin
    if parts.username is None:
        return Proxy(named, None, source)
    return Proxy(named, (unquote(parts.username).encode(), unquote(parts.password or "").encode()), source)
