"""Accepts local connections on one listening socket, whatever its family.

Knows: how many at once, and what the kernel's refusals mean. Refuses to know what becomes of a connection.
"""

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from typing import Final

from hyperion import log
from hyperion.events import INTERNAL_ERROR
from hyperion.worker.local_socket import prepare
from hyperion.worker.poller import READ, Poller

#: Connections the kernel may hold for us.
BACKLOG: Final = 1024
#: Connections accepted in one turn of the loop; the rest waits for the next one, so that those that run get their turn.
MAX_ACCEPTED: Final = 32
#: Seconds without accepting when there is no room for one more socket. It waits in the kernel meanwhile.
RETRY_SECONDS: Final = 1.0

#: No room: for descriptors of this process, of the system, for memory.
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: The listener is broken, and not one connection: it will not get better.
_BROKEN: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
#: Elsewhere an accepted socket may not have what its listener was given.
_INHERITS: Final = sys.platform == "linux"


class Acceptor:
    """Calls ``accepted`` with each new connection, prepared for a ``LocalSocket``, as soon as it is made.

    ``listener`` is any listening stream socket (IPv4, IPv6, Unix); it is closed by ``close``. Raises OSError if it
    does not listen.
    """

    def __init__(self, listener: socket.socket, poller: Poller, accepted: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._poller = poller
        self._accepted = accepted
        self._retry: asyncio.TimerHandle | None = None
        self._broken = False
        prepare(listener)
        listener.listen(BACKLOG)
        poller.watch(listener.fileno(), self, READ)

    def close(self) -> None:
        """Accept no more. The second time it does nothing."""
        if self._retry is not None:
            self._retry.cancel()
        if self._listener.fileno() >= 0:
            self._poller.forget(self._listener.fileno())
            self._listener.close()

    # --- Watched

    def on_ready(self, ready: int) -> None:
        listener = self._listener
        for _ in range(MAX_ACCEPTED):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._rest()
                    return
                if error.errno in _BROKEN:
                    self._on_broken(error)
                    return
                continue  # that one connection broke before it was ours (accept(2))
            if _INHERITS:
                sock.setblocking(False)
            else:
                prepare(sock)
            self._accepted(sock)
            if listener.fileno() < 0:  # closed by what it accepted
                return

    def on_fault(self) -> None:
        self._rest()

    # --- inside

    def _on_broken(self, error: OSError) -> None:
        """Nobody can come here any more, and an operator has to know it. Said once; what is rested costs nothing."""
        if not self._broken:
            self._broken = True
            log.event(INTERNAL_ERROR, log.error_fields(error))
        self._rest()

    def _rest(self) -> None:
        """Not now: trying again at once would only keep us busy."""
        self._poller.forget(self._listener.fileno())
        self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._resume)

    def _resume(self) -> None:
        self._retry = None
        try:
            self._poller.watch(self._listener.fileno(), self, READ)
        except OSError:
            self._rest()
