"""Tunnels of our own beside a client under real addresses: its rule would lead their packets into its device.

Two ways round. A tunnel that begins while such a client runs sees where its server's address leads, and the mark that
leads around. And such a client sees tunnels that are there before it: they carry no mark, and would be cut. Sends
nothing.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hyperion import privileges
from hyperion.capabilities import Capability
from hyperion.config import ServerEntry
from hyperion.errors import RefusedError
from hyperion.privileges import held
from hyperion.sock_diag import Connection, SockDiag
from hyperion.supervisor.marker import make_marked
from hyperion.supervisor.plan import TUNNEL_MARK
from hyperion.way_out import leads_into
from hyperion.worker.knocker import MakeSocket

PROC = Path("/proc")


def mark_needed(servers: Sequence[ServerEntry]) -> int | None:
    """What the sockets of tunnels to ``servers`` must be marked with; ``None``: nothing.

    Raises ``RefusedError`` without the right to.
    """
    caught = [server for server in servers if _leads_into_device(server.endpoint.host, server.endpoint.port)]
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


def _leads_into_device(host: str, port: int) -> bool:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False  # whoever connects says so better
    return any(leads_into(family, address) for family, _, _, _, address in found)


def refuse_to_cut(servers: Sequence[ServerEntry], addresses: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ``RefusedError`` if a tunnel to one of ``servers`` is open on this machine that carries no mark.

    ``addresses`` of each, by name. A server that a client only tries to reach now and then is not seen: that client
    says itself what is in its way (``worker.failure``).
    """
    ports = {server.name: server.endpoint.port for server in servers}
    ends = {(_pack(address), ports[name]): name for name, own in addresses.items() for address in own}
    for connection in _unmarked():
        name = ends.get(connection.far)
        if name is not None:
            where = f"is open on this machine{_holder(connection)}"
            raise RefusedError(
                f"a tunnel to {name} {where}: its packets would go into the device",
                hint="end it first: hyperion-client down, as the user who started it; fake addresses"
                " (hyperion-client up) stand beside it",
            )


def _unmarked() -> Iterator[Connection]:
    try:
        with privileges.raised(Capability.NET_ADMIN), SockDiag() as kernel:
            listed = [one for family in (socket.AF_INET, socket.AF_INET6) for one in kernel.connections(family)]
    except OSError:  # a kernel without such a list: whoever is cut will say so
        return
    yield from (connection for connection in listed if connection.mark != TUNNEL_MARK)


def _holder(connection: Connection) -> str:
    """The process that has it, as far as it can be seen."""
    wanted = f"socket:[{connection.inode}]"
    for process in PROC.glob("[0-9]*"):
        try:
            if any(os.readlink(descriptor) == wanted for descriptor in (process / "fd").iterdir()):
                return (
                    f" (pid {process.name}, {(process / 'comm').read_text(encoding='utf-8', errors='replace').strip()})"
                )
        except OSError:  # it has ended, or is nobody's business
            continue
    return ""


def _pack(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
