"""The client's address: the peer's, or the one that a trusted proxy forwarded.

``X-Forwarded-For`` takes precedence over ``Forwarded`` (RFC 7239). Each proxy appends the address of its peer: the last
one that is not a trusted proxy is the client's. A client can forge the addresses before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from tokctl.errors import UsageError
from tokctl.model.networks import parse_address

UNIX = "unix"
"""The address of a peer on a Unix socket, which may also be a trusted proxy."""
UNKNOWN = "unknown"
"""The address of a client behind a proxy whose ``Forwarded`` is malformed: a client can spoil it on purpose."""
_PAIR = re.compile(r"""\s*+(?:([\w!#$%&'*+.^`|~-]++)=("(?:[^"\\]|\\.)*+"|[^;,\s"]*+))?+\s*+([;,]|\Z)""", re.ASCII)
_PORT = re.compile(r"^\[([^\]]+)\](?::\d+)?$|^([^:]+):\d+$")


class TrustedProxies:
    """The proxies whose forwarded addresses are used."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Read networks in CIDR notation, addresses, or ``unix``. Raises UsageError for anything else."""
        self.unix = False
        found = []
        for text in networks:
            if text == UNIX:
                self.unix = True
                continue
            try:
                found.append(ip_network(text, strict=False))
            except ValueError:
                raise UsageError(
                    f"--trusted-proxy {text} is not a network.",
                    "Use a network such as 10.0.0.0/8, an address, or unix.",
                ) from None
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(found)
        self.any = self.unix or bool(found)
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, address: str) -> bool:
        if address == UNIX:
            return self.unix
        known = parse_address(address)
        return known is not None and any(known in network for network in self.networks)

    def find_client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return the address of a request's client, normalized: IPv4 also on a socket for both versions."""
        if peer.startswith("::ffff:"):
            peer = str(parse_address(peer) or peer)
        if not self.any or not self.trusts(peer):
            return peer
        if (listed := headers.get(b"x-forwarded-for")) is not None:
            named = listed.decode("latin-1").split(",")
        elif (listed := headers.get(b"forwarded")) is not None:
            found = _parse_forwarded(listed.decode("latin-1"))
            if found is None:
                return UNKNOWN
            named = found
        else:
            return peer
        nearest = peer
        for text in reversed(named):
            known = parse_address(_strip_port(text.strip()))
            if known is None:  # unknown or obfuscated: the proxy that sent it is the last known address
                return nearest
            nearest = str(known)
            if not self.trusts(nearest):
                break
        return nearest


def _parse_forwarded(text: str) -> list[str] | None:
    """Return ``for`` of each element, empty if it has none; None if the text is malformed (RFC 7239, section 4).

    Values in quotes may contain what clients send, such as the host, and look like other elements.
    """
    found, position, end = [], 0, ""
    while position < len(text) or end:
        element: dict[str, str] = {}
        end = ";"
        while end == ";":
            pair = _PAIR.match(text, position)
            if pair is None:
                return None
            name, value, end = pair.groups()
            position = pair.end()
            if name is not None:
                element[name.lower()] = value.strip('"')
        if element:
            found.append(element.get("for", ""))
    return found


def _strip_port(text: str) -> str:
    found = _PORT.match(text)
    return (found[1] or found[2]) if found else text
