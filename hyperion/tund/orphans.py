"""Ends connections that ran over a device that is gone: no packet will ever tell their applications.

A tund that was killed takes its device with it, in the middle of transfers. An application that sends is told soon, as
soon as its packets come to the next device; one that only waits for bytes would wait for ever. All that these
connections have left is the device's own address at their near end, so that is how they are found.

Needs what ``sock_diag`` needs to break one; without it, nothing happens.
"""

import socket
from collections.abc import Iterable

from hyperion.sock_diag import SockDiag


def break_connections(addresses: Iterable[str]) -> int:
    """Breaks this machine's TCP connections from any of ``addresses``; how many it was asked to break.

    Their owners are told ECONNABORTED. Never raises: what cannot be broken is left.
    """
    found = 0
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        source = socket.inet_pton(family, address)
        try:
            with SockDiag() as kernel:
                for connection in kernel.connections(family):
                    if connection.near[0] == source:
                        found += 1
                        kernel.destroy(connection)
        except OSError:  # a kernel that lists or breaks none
            continue
    return found
