"""Whether packets to an address would go into the device of transparent mode. A tunnel's own must not: they would come
back from there, refused.

Knows the device's name, and how to ask the kernel for a way without sending anything. Refuses to know who asks, and
what follows from the answer. Linux; elsewhere there is no such device.
"""

import socket
from collections.abc import Callable
from typing import Any

DEVICE_NAME = "hyperion0"

#: ``socket.SO_BINDTODEVICE``, where there is one: without a right since Linux 5.7.
_BIND_TO_DEVICE = getattr(socket, "SO_BINDTODEVICE", None)


def leads_into(
    family: int,
    address: tuple[Any, ...],
    make_socket: Callable[[int, int], socket.socket] = socket.socket,
    *,
    device: str = DEVICE_NAME,
) -> bool:
    """Whether a socket of ``make_socket`` (they may carry a mark) would send by ``device`` to ``address``.

    The kernel chooses the source by the way out, and each device has an address that is only its own. False where there
    is no such device. Raises ``OSError`` if no socket is to be had.
    """
    if not exists(device):
        return False
    with make_socket(family, socket.SOCK_DGRAM) as sock:
        chosen = _source(sock, address)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            assert _BIND_TO_DEVICE is not None
            sock.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, device.encode())
        except OSError:  # it went away just now
            return False
        return chosen is not None and chosen == _source(sock, address)


def exists(device: str = DEVICE_NAME) -> bool:
    """Whether there is such a device in the network namespace of this thread, whatever /sys shows."""
    if _BIND_TO_DEVICE is None:
        return False
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def _source(sock: socket.socket, address: tuple[Any, ...]) -> str | None:
    """Connecting a datagram socket looks up the way, and sends nothing."""
    try:
        sock.connect(address)
    except OSError:  # no way at all
        return None
    return str(sock.getsockname()[0])
