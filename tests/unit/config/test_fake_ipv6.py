"""Each fake IPv4 address has one IPv6 address beside it."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

from hyperion.config.fake_ipv6 import PREFIX, ipv6_beside


def test_the_address_beside() -> None:
    assert ipv6_beside(IPv4Address("10.99.0.10")) == IPv6Address("fd68:7970:6572::a63:a")
    assert ipv6_beside(IPv4Address("0.0.0.0")) == PREFIX.network_address
    assert ipv6_beside(IPv4Address("255.255.255.255")) == PREFIX.broadcast_address


def test_it_is_a_unique_local_one() -> None:
    assert PREFIX.is_private
    assert PREFIX.network_address in IPv6Network("fd00::/8")
