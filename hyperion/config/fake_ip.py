"""Fake addresses: by which address a server is known to applications in transparent mode.

Pure. Knows the rule of the original, so that both give the same servers the same addresses (WIRE section 12.3). Refuses
to know how an address is written, and where one is asked for.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from hyperion.config.settings import TunSettings

#: Host number of the first address that is given; those below are for the device itself and for the operator's own use.
FIRST_HOST = 10


class NoFreeAddress(Exception):
    """The device's subnet has no address left. ``place``: 0-based, of the server that got none."""

    def __init__(self, place: int) -> None:
        super().__init__("no free virtual IP left in the tun subnet")
        self.place = place


def assign(tun: TunSettings, wanted: Sequence[IPv4Address | None]) -> list[IPv4Address]:
    """An address for each server: the one it asks for, else the lowest that nobody has or asks for.

    The addresses asked for must be different from each other; they need not lie in the subnet. Raises
    ``NoFreeAddress``.
    """
    free = _free(tun, {address for address in wanted if address is not None})
    result: list[IPv4Address] = []
    for place, address in enumerate(wanted):
        chosen = address if address is not None else next(free, None)
        if chosen is None:
            raise NoFreeAddress(place)
        result.append(chosen)
    return result


def next_free(tun: TunSettings, taken: Sequence[IPv4Address]) -> IPv4Address | None:
    """The address for one more server beside those that have written theirs down; ``None`` if there is none left."""
    return next(_free(tun, set(taken)), None)


def _free(tun: TunSettings, taken: set[IPv4Address]) -> Iterator[IPv4Address]:
    """From the lowest up, without the network's own address, its broadcast address and the device's."""
    network = IPv4Network((tun.address, tun.prefix), strict=False)
    for host in range(FIRST_HOST, network.num_addresses - 1):
        address = network.network_address + host
        if address != tun.address and address not in taken:
            yield address
