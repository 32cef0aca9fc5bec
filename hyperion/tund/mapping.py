"""What leads where in transparent mode: servers by their address, and for each the listeners of its worker.

Plain tables, replaced as a whole when a worker reports. There is no table of connections: a connection is known by the
addresses and ports that each of its packets carries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Target:
    """One server. ``listeners``: remote port -> port of the worker's listener on the device's address.

    ``remote_ports`` is the same the other way round. ``up``: new connections are welcome. ``closed``: no port but those
    in ``listeners`` is allowed; otherwise the worker may be asked for one.
    """

    name: str
    up: bool = False
    closed: bool = False
    listeners: Mapping[int, int] = field(default_factory=dict)
    remote_ports: Mapping[int, int] = field(default_factory=dict)

    def set_listeners(self, pairs: Sequence[tuple[int, int]], *, closed: bool) -> None:
        """``pairs`` of remote port and listener's port replace what was known.

        No pairs of a server that is down change nothing: a worker that died is silent, but the resets of its sockets
        are still on their way and must find home. One that is up has no listeners then, and their ports belong to
        nobody: whoever takes one must not be taken for the server.
        """
        self.closed = closed
        if pairs or self.up:
            self.listeners = dict(pairs)
            self.remote_ports = {listener: remote for remote, listener in pairs}
