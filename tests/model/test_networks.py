"""Networks: their normal form, and which addresses are in them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.errors import UsageError
from tokctl.model.networks import ANY_ADDRESS, find_networks_outside, is_address_in, validate_networks

NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ip_network(pair, strict=False))
NOT_MAPPED = NETWORKS.filter(lambda one: one.version == 4 or not one.subnet_of(ip_network("::ffff:0:0/96")))


@given(NOT_MAPPED)
def test_the_normal_form_stays(network):
    assert validate_networks([f" {network} ", str(network)]) == (str(network),)


@given(NOT_MAPPED, st.data())
def test_an_address_of_a_network_is_in_it(network, data):
    last = int(network.broadcast_address)
    inside = data.draw(st.integers(int(network.network_address), last))
    address = str(ip_address(inside) if network.version == 4 else network[inside - int(network.network_address)])
    mapped = getattr(ip_address(address), "ipv4_mapped", None)
    assert is_address_in(address, (str(network),)) is (mapped is None)
    if network.version == 4:
        assert is_address_in(f"::ffff:{address}", (str(network),))
    assert find_networks_outside((address + ("/32" if network.version == 4 else "/128"),), (str(network),)) == []


@given(NOT_MAPPED, NOT_MAPPED)
def test_what_is_outside(one, other):
    inside = one.version == other.version and one.subnet_of(other)
    assert find_networks_outside((str(one),), (str(other),)) == ([] if inside else [str(one)])


def test_what_is_not_an_address_is_in_no_network():
    for address in ("unix", "", "unknown", "10.0.0.1:80"):
        assert not is_address_in(address, ANY_ADDRESS)
    assert is_address_in("fe80::1%eth0", ("fe80::/10",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.0/33", "not a network"),
        ("example.org", "not a network"),
        ("", "not a network"),
        ("10.0.0.1/8", "Use 10.0.0.0/8, or 10.0.0.1 for one address"),
        ("2001:db8::1/32", "Use 2001:db8::/32, or 2001:db8::1 for one address"),
        ("::ffff:10.0.0.0/104", "IPv4 network in IPv6"),
        ("fe80::1%eth0", "zone"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        validate_networks([text])
    assert "\n" not in str(caught.value)


def test_there_are_not_too_many():
    assert len(validate_networks([f"10.0.{n}.0/24" for n in range(100)])) == 100
    with pytest.raises(UsageError, match="101 networks are too many"):
        validate_networks([f"10.0.{n}.0/24" for n in range(101)])
