"""Sends knocks: the UDP side of reaching a server behind a gate.

Knows the knock key, the server's clock, the sockets. Refuses to know when to knock (``race``) and whether it helped.
A knock has no answer; the only thing that can come back is an error of the network, which is kept for who explains a
failure. No such error outlives the dial it happened in.

Source: WIRE section 4.
"""

import errno
import socket
import time
from collections.abc import Callable
from secrets import token_bytes
from types import TracebackType
from typing import Self

from hyperion.proto.control import KnockOrder
from hyperion.proto.knock import NONCE_BYTES, seal
from hyperion.worker.addresses import Address, SockAddress
from hyperion.worker.server_clock import ServerClock

#: Makes a socket of a family and a type; the default is a plain one. Transparent mode hands out marked ones.
MakeSocket = Callable[[int, int], socket.socket]


class Knocker:
    """Knocks at one server for one TCP port. ``clock`` is what is known of the server's."""

    def __init__(
        self,
        order: KnockOrder,
        server_public: bytes,
        tunnel_port: int,
        clock: ServerClock,
        make_socket: MakeSocket = socket.socket,
    ) -> None:
        self.order = order
        self.make_socket = make_socket
        self._server_public = server_public
        self._tunnel_port = tunnel_port
        self._clock = clock

    def datagram(self, turn: int) -> bytes:
        """The 44 bytes of knock number ``turn`` of a dial, with a nonce of its own."""
        timestamp = self._clock.timestamp(time.time(), turn)
        nonce = token_bytes(NONCE_BYTES)
        return seal(self.order.knock_key, self._server_public, timestamp, self._tunnel_port, nonce)


class Knocks:
    """The knocks of one dial; a context manager. ``sent``: how many went out; ``first_at``: when (monotonic seconds);
    ``rejected``: the error number of an ICMP message that came back for one, if any did."""

    def __init__(self, knocker: Knocker) -> None:
        self.sent = 0
        self.first_at: float | None = None
        self.rejected: int | None = None
        self._knocker = knocker
        self._sockets: dict[Address, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._sockets.values():
            self._note(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            sock.close()
        self._sockets.clear()

    def send(self, address: Address) -> None:
        """One knock to the host of ``address``. Raises ``OSError`` if it cannot go out (no route, forbidden)."""
        sock = self._socket_for(address)
        datagram = self._knocker.datagram(self.sent)
        try:
            try:
                sock.send(datagram)
            except ConnectionRefusedError as error:  # that was about an earlier one, and is cleared by being told
                self._note(error.errno)
                sock.send(datagram)
        except BlockingIOError:
            return  # the queue of the device is full: as good as lost, and the next one is on its way
        if self.first_at is None:
            self.first_at = time.monotonic()
        self.sent += 1

    def source(self, address: Address) -> SockAddress | None:
        """Where the knocks to ``address`` came from, port 0: what connects must come from there, too."""
        sock = self._sockets.get(address)
        if sock is None:
            return None
        host, _, *rest = sock.getsockname()
        return (host, 0, *rest)

    def _socket_for(self, address: Address) -> socket.socket:
        """Connected, so that it has one source address, and errors of the network find it."""
        sock = self._sockets.get(address)
        if sock is None:
            sock = self._knocker.make_socket(address.family, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                sock.connect(address.with_port(self._knocker.order.port))
            except BaseException:
                sock.close()
                raise
            self._sockets[address] = sock
        return sock

    def _note(self, number: int | None) -> None:
        if number in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
            self.rejected = number
