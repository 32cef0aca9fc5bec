"""Shuts listening sockets, and opens them again, without the help of those who accept on them.

A shut socket is deaf: each new connection's first packet vanishes without an answer, as if nobody listened and nobody
refused. Connections that were accepted before go on: the filter is that of the listening socket alone. The supervisor
holds the very sockets that its workers accept on, so a worker that is stuck or busy changes nothing.

Knows sockets. Refuses to know why (``gate``).
"""

import contextlib
import socket
from collections.abc import Sequence

from hyperion import privileges
from hyperion.capabilities import Capability
from hyperion.socket_filter import DROP_ALL, attach, detach


class Shutter:
    """Over ``sockets``, which are shut already. Both verbs raise ``OSError`` where there are no filters."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = tuple(sockets)
        self.is_open = False

    def shut(self) -> None:
        """Nobody new gets in. Takes microseconds; twice does no harm."""
        self.is_open = False
        with _right_to_attach():
            for sock in self._sockets:
                attach(sock, DROP_ALL)

    def open(self) -> None:
        """As before ``shut``."""
        if not self.is_open:
            for sock in self._sockets:
                detach(sock)
            self.is_open = True


def _right_to_attach() -> contextlib.AbstractContextManager[None]:
    """Linux 6.18 asks for CAP_NET_ADMIN (measured), older ones for nothing. Who has a gate has it permitted."""
    if privileges.held(frozenset({Capability.NET_ADMIN})):
        return privileges.raised(Capability.NET_ADMIN)
    return contextlib.nullcontext()
