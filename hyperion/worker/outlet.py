"""Where a tunnel's records leave: into the kernel at once while it has room, else into the transport's queue.

Knows: the transport and a second descriptor of its socket. Refuses to know what records are.

A transport keeps what it is given until the end of the loop's turn, so every record needs memory of its own. A record
that the kernel takes at once can be sealed into the same buffer as the one before. Order is kept: nothing goes past
what waits in the transport.

The second descriptor is ours. The transport's own number may not be written to: it closes it by itself after an error,
and the number may be another connection's by then.
"""

import asyncio
import os
import socket
import sys
from typing import Final

# Elsewhere a descriptor is not so easily doubled (Windows), or nothing was measured.
_SHARES: Final = sys.platform == "linux"


class Outlet:
    """The way out of one connection."""

    __slots__ = ("_direct", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._direct: socket.socket | None = None

    def share(self) -> None:
        """Send directly from now on, if the system can. Costs a descriptor; call it once the peer is worth it."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if _SHARES and sock is not None and self._direct is None and not self._transport.is_closing():
            try:
                self._direct = socket.socket(fileno=os.dup(sock.fileno()))
            except OSError:  # no descriptor left, so it goes the other way
                return
            self._direct.setblocking(False)

    @property
    def waiting_bytes(self) -> int:
        """What waits in our memory for the kernel."""
        return self._transport.get_write_buffer_size()

    def write(self, record: bytes | bytearray) -> None:
        """Send ``record``, which nobody changes any more."""
        sent = self._send(record)
        if sent < len(record):
            self._transport.write(memoryview(record)[sent:] if sent else record)

    def write_from_buffer(self, record: memoryview) -> None:
        """Send ``record``, whose memory is used again as soon as this returns."""
        sent = self._send(record)
        if sent < len(record):
            self._transport.write(bytes(record[sent:]))

    def close(self) -> None:
        """End the connection after what waits."""
        self.let_go()
        self._transport.close()

    def abort(self) -> None:
        """End it now."""
        self.let_go()
        self._transport.abort()

    def let_go(self) -> None:
        """The transport is gone, or about to go: the kernel says so to the peer only when nobody holds the socket."""
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()

    def _send(self, record: bytes | bytearray | memoryview) -> int:
        """How much the kernel took."""
        if self._direct is None or self._transport.get_write_buffer_size():
            return 0
        try:
            return self._direct.send(record)
        except OSError:  # no room; or it is broken, which the transport will find out as well
            return 0
