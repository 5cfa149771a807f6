"""Networks in CIDR notation (RFC 4632, RFC 4291), and whether an address is in one of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tokctl.errors import UsageError

MAX_NETWORKS = 100
"""Maximum number of networks of an API token."""
ANY_ADDRESS = ("0.0.0.0/0", "::/0")
_MAPPED = IPv6Network("::ffff:0:0/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """Return an address without its zone, an IPv4-mapped one as IPv4; None if the text is not an address."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def validate_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks in normal form, without duplicates, in their order; a single address is a network, too.

    Raises:
        UsageError: one is not a network, or there are too many. The message can be sent to a client.
    """
    found = tuple(dict.fromkeys(str(_parse_network(text.strip())) for text in texts))
    if len(found) > MAX_NETWORKS:
        raise UsageError(f"{len(found):,} networks are too many.", f"The maximum is {MAX_NETWORKS}.")
    return found


def _parse_network(text: str) -> Network:
    example = "Use CIDR notation, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32."
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise UsageError(f"'{text}' is not a network.", example) from None
    if "%" in text or (isinstance(found, IPv6Network) and found.subnet_of(_MAPPED)):
        raise UsageError(f"'{text}' has a zone, or is an IPv4 network in IPv6 notation.", example)
    address = parse_address(text.partition("/")[0])
    if address != found.network_address:  # either the address or the length is a mistake
        raise UsageError(
            f"'{text}' has bits of an address behind its prefix.", f"Use {found}, or {address} for one address."
        )
    return found


@lru_cache(maxsize=4096)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def is_address_in(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether an address is in one of the networks; a text that is not an address is in none."""
    known = parse_address(address)
    return known is not None and any(known in network for network in _networks(networks))


def find_networks_outside(networks: tuple[str, ...], outer: tuple[str, ...]) -> list[str]:
    """Return those networks that are not wholly in one of the outer ones."""
    return [
        str(one)
        for one in _networks(networks)
        if not any(one.version == wide.version and one.subnet_of(wide) for wide in _networks(outer))  # type: ignore[arg-type]
    ]
