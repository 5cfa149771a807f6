"""Which proxy the environment (or the system, on macOS) names for a server."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tokctl.client.address import Base
from tokctl.errors import UsageError


class Proxy(NamedTuple):
    """A proxy: its URL without its password, which may be shown, and its user and password."""

    url: str
    auth: tuple[bytes, bytes] | None

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def proxy_for(base: Base) -> Proxy | None:
    """Return the proxy to this server, or None.

    What is on this machine is never asked through a proxy: there, "localhost" would be the proxy's own.

    Raises:
        UsageError: what is named is no proxy that can be used.
    """
    from urllib.request import getproxies, proxy_bypass

    if base.is_local:
        return None
    proxies = getproxies()
    url = proxies.get(base.scheme) or proxies.get("all")
    place = base.host if base.port is None else f"{base.host}:{base.port}"
    if not url or proxy_bypass(place) or _in_network(base.host, proxies.get("no", "")):
        return None
    return _parse(url)


def _in_network(host: str, exceptions: str) -> bool:
    """Whether NO_PROXY names a network that the host is in (``10.0.0.0/8``), or itself as ``[::1]``."""
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(host)
    except ValueError:
        return False
    for name in exceptions.split(","):
        try:
            if address in ip_network(name.strip(" []"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _parse(url: str) -> Proxy:
    hint = "Set HTTP_PROXY or HTTPS_PROXY to one as http://proxy.example.org:3128, or the server in NO_PROXY."
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not host.isprintable():
        raise UsageError("the environment names a proxy whose URL cannot be read.", hint)
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"the environment names a proxy of the kind '{parts.scheme}', which is not supported.", hint)
    named = Base(parts.scheme, host, port).origin
    if parts.username is None:
        return Proxy(named, None)
    return Proxy(named, (unquote(parts.username).encode(), unquote(parts.password or "").encode()))
