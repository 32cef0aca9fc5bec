"""From the name of a server to the addresses it is tried at, in the order of the tries.

Knows names, families, order. Refuses to know what is sent to an address.

The order is RFC 8305's: as the system sorted them (RFC 6724), but with the families in turn, so that a family that
leads nowhere costs one step and not all of them.
"""

import asyncio
import itertools
import socket
from collections.abc import Iterable
from typing import Any, cast

import msgspec

#: Addresses of one name that are tried. A pool of many addresses is no server of ours, and each address shares the time
#: of one dial.
MAX_ADDRESSES = 6

SockAddress = tuple[Any, ...]


class Address(msgspec.Struct, frozen=True):
    """Where a socket of ``family`` can be connected to. ``sockaddr`` is the operating system's form."""

    family: int
    sockaddr: SockAddress

    def with_port(self, port: int) -> SockAddress:
        """The same host, another port."""
        return (self.sockaddr[0], port, *self.sockaddr[2:])

    def __str__(self) -> str:
        host, port = self.sockaddr[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of ``host``, best first; at least one. An address stands for itself, without a thread.

    Raises ``OSError`` (``socket.gaierror``) or ``UnicodeError`` for a name that has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [Address(int(family), cast(SockAddress, sockaddr)) for family, _, _, _, sockaddr in found]
    return in_turn(addresses)[:MAX_ADDRESSES]


def in_turn(addresses: Iterable[Address]) -> list[Address]:
    """Each once; the families in turn, beginning with the family of the first."""
    by_family: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        by_family.setdefault(address.family, []).append(address)
    rounds = itertools.zip_longest(*by_family.values())
    return [address for each in rounds for address in each if address is not None]
