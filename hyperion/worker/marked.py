"""Gets marked sockets from the supervisor, for knocks and connections that must not go into the transparent device.

Knows the question and the answer (``hyperion.supervisor.marker`` is the other side). The answer is waited for: it takes
a fraction of a millisecond, and only when a tunnel is made.
"""

import socket
from secrets import token_bytes
from typing import Final

from hyperion.proto.control import MARK_REQUEST_BYTES

#: Seconds that a supervisor may take, which is busy starting others at worst.
ANSWER_SECONDS: Final = 3.0


class MarkedSockets:
    """Call it like ``socket.socket``. Without a desk, before ``use``, it makes plain ones."""

    def __init__(self) -> None:
        self._desk: socket.socket | None = None

    def use(self, desk: socket.socket) -> None:
        """From now on ask there."""
        desk.settimeout(ANSWER_SECONDS)
        self._desk = desk

    def __call__(self, family: int, kind: int) -> socket.socket:
        """A socket of that family and type. Raises ``OSError`` if none is to be had."""
        if self._desk is None:
            return socket.socket(family, kind)
        letters = (b"6" if family == socket.AF_INET6 else b"4") + (b"u" if kind == socket.SOCK_DGRAM else b"t")
        request = letters + token_bytes(MARK_REQUEST_BYTES - len(letters))
        self._desk.send(request)
        while True:
            answer, descriptors, _, _ = socket.recv_fds(self._desk, MARK_REQUEST_BYTES, 1)
            sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            if answer == request and sockets:
                return sockets[0]
            # To somebody who had this desk before us and died before the answer came.
            for sock in sockets:
                sock.close()
            if not answer:
                raise ConnectionResetError("the supervisor is gone")

    def close(self) -> None:
        """Ask no more."""
        if self._desk is not None:
            self._desk.close()
