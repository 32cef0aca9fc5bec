"""Past the transport: a tunnel's records go into the kernel at once while it has room, and come straight out of it.

Knows: the transport and a second descriptor of its socket. Refuses to know what records are.

A transport keeps what it is given until the end of the loop's turn, so every record needs memory of its own. A record
that the kernel takes at once can be sealed into the same buffer as the one before. Order is kept: nothing goes past
what waits in the transport.

A transport that gives others their turn after each full buffer has to be paused and resumed, which costs four system
calls on uvloop. A descriptor that the loop only watches gives one read a turn for nothing.

The second descriptor is ours. The transport's own number may not be written to: it closes it by itself after an error,
and the number may be another connection's by then.
"""

import asyncio
import os
import socket
import sys
from typing import Final

if sys.platform == "linux":
    import fcntl
    import termios

#: Bytes that wait in our own memory for the kernel before local sockets are no longer read: two of the largest records.
WRITE_HIGH_BYTES: Final = 128 * 1024
#: ... and when they are read again.
WRITE_LOW_BYTES: Final = 32 * 1024
#: Unsent bytes in the kernel that make the socket not writable: what a keystroke may have to wait behind.
NOTSENT_LOWAT_BYTES: Final = 128 * 1024

_TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)

# Elsewhere a descriptor is not so easily doubled (Windows), or nothing was measured.
_SHARES: Final = sys.platform == "linux"


class Outlet:
    """The way out of one connection, and in once it is shared."""

    __slots__ = ("_direct", "_loop", "_resting", "_transport", "broken")

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)
        _tune(transport.get_extra_info("socket"))
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._direct: socket.socket | None = None
        self._resting = False
        #: reading found the connection broken, which the transport will not tell
        self.broken = False

    def share(self, protocol: asyncio.BufferedProtocol, buffer: memoryview) -> None:
        """Send directly from now on, if the system can. Then the transport reads no more: what comes is read into
        ``buffer`` here, and told to ``protocol`` as the transport would.

        Costs a descriptor; call it once the peer is worth it, and from ``protocol.buffer_updated``.
        """
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if _SHARES and sock is not None and self._direct is None and not self._transport.is_closing():
            try:
                direct = socket.socket(fileno=os.dup(sock.fileno()))
            except OSError:  # no descriptor left, so it goes the other way
                return
            direct.setblocking(False)
            try:
                self._loop.add_reader(direct.fileno(), self._on_readable, direct, protocol, buffer)
            except OSError:  # no room in the kernel for one more watched socket: the same
                direct.close()
                return
            self._transport.pause_reading()
            self._direct = direct

    def let_others_read(self) -> None:
        """A whole buffer was filled: there is more, but it is somebody else's turn.

        libuv would go on for up to 32 buffers, 12 ms and more.
        """
        if self._direct is None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def rest(self) -> None:
        """Read nothing before ``read_on``, which must come in one of the loop's next turns: what is there to be read
        wakes the loop all the same."""
        self._resting = True
        if self._direct is None and not self._transport.is_closing():
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        self._resting = False
        self._read_on()

    @property
    def waiting_bytes(self) -> int:
        """What waits in our memory for the kernel."""
        return self._transport.get_write_buffer_size()

    @property
    def unsent_bytes(self) -> int | None:
        """What the peer's kernel did not take yet, ours and the kernel's. None where the system does not tell."""
        sock = self._direct or self._transport.get_extra_info("socket")
        if sys.platform != "linux" or sock is None:
            return None
        try:
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))  # of a socket, it is called SIOCOUTQ
        except OSError:  # gone already
            return None
        return self.waiting_bytes + int.from_bytes(queued, sys.byteorder)

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
            self._loop.remove_reader(direct.fileno())
            direct.close()

    def _on_readable(self, direct: socket.socket, protocol: asyncio.BufferedProtocol, buffer: memoryview) -> None:
        if self._resting:
            return
        try:
            size = direct.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.broken = True
            self.abort()
            return
        try:
            if size:
                protocol.buffer_updated(size)
            else:
                protocol.eof_received()
                self.close()
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this connection, as under a transport
            self.broken = True
            self.abort()
            context = {"message": "reading a tunnel failed", "exception": error, "transport": self._transport}
            self._loop.call_exception_handler(context)

    def _read_on(self) -> None:
        if self._direct is None and not self._resting and not self._transport.is_closing():
            self._transport.resume_reading()

    def _send(self, record: bytes | bytearray | memoryview) -> int:
        """How much the kernel took."""
        if self._direct is None or self._transport.get_write_buffer_size():
            return 0
        try:
            return self._direct.send(record)
        except OSError:  # no room; or it is broken, which the transport will find out as well
            return 0


def _tune(sock: socket.socket | None) -> None:
    """No delay for small records; a small backlog in the kernel, so that they need not wait behind bulk."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _TCP_NOTSENT_LOWAT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
