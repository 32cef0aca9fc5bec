"""Tunnels of our own beside a client under real addresses: its rule would lead their packets into its device.

Knows how to see where an address leads, and the mark that leads around. Sends nothing. A client that is started later
is not seen.
"""

import socket
from collections.abc import Sequence

from hyperion.capabilities import Capability
from hyperion.cli.transparent_mode import DEVICE
from hyperion.config import ServerEntry
from hyperion.errors import RefusedError
from hyperion.privileges import held
from hyperion.supervisor.marker import make_marked
from hyperion.supervisor.plan import TUNNEL_MARK
from hyperion.worker.knocker import MakeSocket

#: ``socket.SO_BINDTODEVICE``, where there is one: without a right since Linux 5.7.
_BIND_TO_DEVICE = getattr(socket, "SO_BINDTODEVICE", None)


def mark_needed(servers: Sequence[ServerEntry]) -> int | None:
    """What the sockets of tunnels to ``servers`` must be marked with; ``None``: nothing.

    Raises ``RefusedError`` without the right to.
    """
    if _BIND_TO_DEVICE is None or not DEVICE.exists():
        return None
    caught = [server for server in servers if leads_into(DEVICE.name, server.endpoint.host, server.endpoint.port)]
    if not caught:
        return None
    if not held(frozenset({Capability.NET_ADMIN})):
        raise RefusedError(
            f"hyperion-client tun runs here, and the address of {caught[0].name} leads into it",
            hint="use what runs: connect to the address; a tunnel beside it needs CAP_NET_ADMIN, as with sudo",
        )
    return TUNNEL_MARK


def sockets_around(servers: Sequence[ServerEntry]) -> MakeSocket | None:
    """What makes the sockets of tunnels to ``servers``; ``None``: plain ones will do. Raises ``RefusedError``."""
    mark = mark_needed(servers)
    return None if mark is None else lambda family, kind: make_marked(family, kind, mark)


def leads_into(device: str, host: str, port: int) -> bool:
    """Whether packets to an address of ``host`` would leave by ``device``."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False  # whoever connects says so better
    return any(_leads_into(device, family, address) for family, _, _, _, address in found)


def _leads_into(device: str, family: int, address: tuple[object, ...]) -> bool:
    """The kernel chooses the source by the way out, and each device has an address that is only its own."""
    chosen = _source(family, address, None)
    return chosen is not None and chosen == _source(family, address, device)


def _source(family: int, address: tuple[object, ...], device: str | None) -> str | None:
    """Connecting a datagram socket looks up the way, and sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            if device is not None and _BIND_TO_DEVICE is not None:
                sock.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, device.encode())
            sock.connect(address)
        except OSError:  # no way at all
            return None
        return str(sock.getsockname()[0])
