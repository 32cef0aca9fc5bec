"""Whether a network is free on this machine, and which one is free instead. Pure.

An overlap is not always a clash: who sends everything through a VPN has routes as wide as half of the Internet, and a
narrower one beside them harms nobody. A route to a network of an organisation does clash: an address in it that turns
out to be a server of ours could have been one of theirs.

Source: RFC 1918 and 6598 (which addresses are for private use), RFC 2544 (198.18.0.0/15, for tests).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network

#: Routes shorter than this stand for "everything": a default route, or the halves, quarters and pieces of it that VPNs
#: write down to take its place.
SHORTEST_SPECIFIC = 8

#: Where a free subnet is looked for, in this order.
_PRIVATE = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"))
#: Candidates of one range that are tried; the first is nearly always free.
MAX_TRIED = 256


def clash(wanted: Network, taken: Iterable[Network]) -> Network | None:
    """The network in use that ``wanted`` overlaps; ``None`` if it is free."""
    for other in taken:
        if other.version == wanted.version and other.prefixlen >= SHORTEST_SPECIFIC and other.overlaps(wanted):
            return other
    return None


def free_network(prefix: int, taken: Iterable[Network]) -> IPv4Network | None:
    """A private subnet of that length that nobody uses; ``None`` where everything is in use."""
    used = list(taken)
    for candidate in _candidates(prefix):
        if clash(candidate, used) is None:
            return candidate
    return None


def parse(text: str) -> Network:
    """``10.99.0.1/24`` is an address in 10.99.0.0/24. Raises ``ValueError``."""
    return ip_network(text, strict=False)


def _candidates(prefix: int) -> Iterator[IPv4Network]:
    """Spread over each range, from an odd corner of it on: the corners with round numbers are everybody's choice."""
    for whole in _PRIVATE:
        if prefix < whole.prefixlen:
            continue
        size = 1 << (32 - prefix)
        count = whole.num_addresses // size
        step = max(1, count // MAX_TRIED) | 1
        for number in range(min(count, MAX_TRIED)):
            place = (99 * count // MAX_TRIED + number * step) % count
            yield IPv4Network((int(whole.network_address) + place * size, prefix))
