"""Fake addresses of IPv6: beside each fake IPv4 address, one that programs which want IPv6 can use.

Pure. The prefix is a unique local one (RFC 4193) with the letters of the program's name for the random part: it needs
to be the same on every machine and in every year, so that addresses can be written down; a clash with somebody else's
is found when the device is made. The IPv4 address makes the end of it: 10.99.0.10 is fd68:7970:6572::a63:a.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

PREFIX = IPv6Network("fd68:7970:6572::/96")


def ipv6_beside(address: IPv4Address) -> IPv6Address:
    """The fake IPv6 address of whoever has this fake IPv4 address."""
    return PREFIX.network_address + int(address)
