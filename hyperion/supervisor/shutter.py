"""Shuts listening sockets, and opens them again, without the help of those who accept on them.

A shut socket is deaf: each new connection's first packet vanishes without an answer, as if nobody listened and nobody
refused. Connections that were accepted before go on: the filter is that of the listening socket alone. The supervisor
holds the very sockets that its workers accept on, so a worker that is stuck or busy changes nothing.

A filter takes memory of the kernel. Where there is none, the socket is moved away instead: to an interface that does
not exist. That takes nothing and keeps everybody out as surely, but the kernel says so to who asks (a reset).

Knows sockets. Refuses to know why (``gate``).

Source: socket(7) and linux/asm-generic/socket.h for SO_BINDTOIFINDEX (Linux 5.1); undoing it needs CAP_NET_RAW.
"""

import contextlib
import enum
import socket
from collections.abc import Sequence

from hyperion import log, privileges
from hyperion.capabilities import Capability
from hyperion.events import DIAGNOSTIC
from hyperion.socket_filter import DROP_ALL, attach, detach

# A socket option. The socket module does not know it.
SO_BINDTOIFINDEX = 62
#: No interface has this number: the kernel counts up from 1, and this is the last one.
NOWHERE = 2**31 - 1
ANYWHERE = 0


class _State(enum.Enum):
    OPEN = enum.auto()
    DEAF = enum.auto()
    AWAY = enum.auto()


class Shutter:
    """Over ``sockets``, which are shut already. Neither verb raises: what fails is logged once, and tried again next
    time.

    ``is_open``: all are. ``is_shut``: surely none is. ``trouble``: why one of them is not as it was last told to be.
    """

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._states = dict.fromkeys(sockets, _State.DEAF)
        self._complaints: dict[socket.socket, str] = {}
        self.trouble: str | None = None

    @property
    def is_open(self) -> bool:
        """Whoever comes is accepted."""
        return all(state is _State.OPEN for state in self._states.values())

    @property
    def is_shut(self) -> bool:
        """Nobody is."""
        return _State.OPEN not in self._states.values()

    def shut(self) -> None:
        """Nobody new gets in. Takes microseconds; twice does no harm."""
        self.trouble = None
        for sock, state in self._states.items():
            if state is _State.OPEN:
                self._states[sock] = self._shut(sock)

    def open(self) -> None:
        """As before ``shut``."""
        self.trouble = None
        for sock, state in self._states.items():
            if state is not _State.OPEN:
                self._states[sock] = self._open(sock, state)

    def _shut(self, sock: socket.socket) -> _State:
        try:
            with _right(Capability.NET_ADMIN):
                attach(sock, DROP_ALL)
        except OSError as error:
            without_filter = error
        else:
            self._complaints.pop(sock, None)
            return _State.DEAF
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NOWHERE)
        except OSError as error:
            self._trouble(sock, error, "the tunnel port cannot be shut")
            return _State.OPEN
        self._complain(
            sock, without_filter, "the tunnel port cannot be made deaf: connections to it are refused instead"
        )
        return _State.AWAY

    def _open(self, sock: socket.socket, state: _State) -> _State:
        try:
            if state is _State.DEAF:
                detach(sock)
            else:
                with _right(Capability.NET_RAW):
                    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, ANYWHERE)
        except OSError as error:
            self._trouble(sock, error, "the tunnel port cannot be opened again")
            return state
        self._complaints.pop(sock, None)
        return _State.OPEN

    def _trouble(self, sock: socket.socket, error: OSError, what: str) -> None:
        self.trouble = f"{what}: {error.strerror}"
        self._complain(sock, error, what)

    def _complain(self, sock: socket.socket, error: OSError, message: str) -> None:
        """Once for each socket, however often it is tried."""
        if self._complaints.get(sock) != message:
            self._complaints[sock] = message
            log.event(DIAGNOSTIC, log.error_fields(error), message=message, level="error")


def _right(right: Capability) -> contextlib.AbstractContextManager[None]:
    """For a filter Linux 6.18 asks for CAP_NET_ADMIN (measured), older ones for nothing. Who has a gate has it, and
    CAP_NET_RAW, permitted."""
    if privileges.held(frozenset({right})):
        return privileges.raised(right)
    return contextlib.nullcontext()
