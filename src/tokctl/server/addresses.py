"""Whose request it is: the peer's address, or the one that a trusted proxy forwarded.

``X-Forwarded-For`` counts before ``Forwarded`` (RFC 7239). Of either, each proxy adds the address of its own peer
to the end: the last one that is no trusted proxy's is the client's. What stands before it, anybody can make up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tokctl.errors import UsageError

UNIX = "unix"
"""The address of a peer on a Unix socket, which may be a trusted proxy, too."""
_FOR = re.compile(r'(?:^|[;,\s])for=("(?:[^"\\]|\\.)*"|[^;,\s]*)', re.IGNORECASE)
_PORT = re.compile(r"^\[([^\]]+)\](?::\d+)?$|^([^:]+):\d+$")


class Proxies:
    """The proxies whose word counts."""

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
                raise UsageError(f"--trusted-proxy {text} is no network.",
                                 "Give one such as 10.0.0.0/8, an address, or unix.") from None  # fmt: skip
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(found)
        self.any = self.unix or bool(found)
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, address: str) -> bool:
        if address == UNIX:
            return self.unix
        known = _address(address)
        return known is not None and any(known in network for network in self.networks)

    def client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The address that a request comes from, in its usual form."""
        if not self.any or not self.trusts(peer):
            return peer
        if (listed := headers.get(b"x-forwarded-for")) is not None:
            named = listed.decode("latin-1").split(",")
        elif (listed := headers.get(b"forwarded")) is not None:
            named = [found.strip('"') for found in _FOR.findall(listed.decode("latin-1"))]
        else:
            return peer
        nearest = peer
        for text in reversed(named):
            known = _address(_without_port(text.strip()))
            if known is None:  # unknown, or hidden on purpose: whoever said so is as far as we can see
                return nearest
            nearest = str(known)
            if not self.trusts(nearest):
                break
        return nearest


def _without_port(text: str) -> str:
    found = _PORT.match(text)
    return (found[1] or found[2]) if found else text


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
