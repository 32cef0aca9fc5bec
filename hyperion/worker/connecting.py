"""Connects to a TCP port of this machine without waiting: mostly it is done before the call returns.

Knows: the attempt and how it fails. Refuses to know whether it may be made, and when to give up.
"""

import errno
import socket
import sys
from collections.abc import Callable
from typing import Final

from hyperion.worker.local_socket import prepare
from hyperion.worker.poller import WRITE, Poller

#: The answer comes later. Windows has a word of its own.
_LATER: Final = frozenset(
    {errno.EINPROGRESS, errno.EALREADY, errno.EINTR, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)}
)
#: Linux has the answer of a listener of this machine when connect() returns, but tells it only to whoever asks again.
_ASK_AGAIN: Final = sys.platform == "linux"

#: Told once: the connected socket, prepared for a ``LocalSocket``; or None and the number of the error.
Done = Callable[[socket.socket | None, int], None]


class Connecting:
    """One attempt to connect to ``address`` (IPv4). ``done`` may be called before this returns."""

    def __init__(self, address: tuple[str, int], poller: Poller, done: Done) -> None:
        self._poller = poller
        self._done: Done | None = done
        self._sock: socket.socket | None = None
        try:
            sock = self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            prepare(sock)
            error = sock.connect_ex(address)
            if error == errno.EINPROGRESS and _ASK_AGAIN:
                error = sock.connect_ex(address)
            if error in _LATER:
                poller.watch(sock.fileno(), self, WRITE)
                return
        except OSError as failure:  # no room for one more socket
            error = failure.errno or errno.EIO
        self._tell(error)

    def cancel(self) -> None:
        """Give up; ``done`` is not called any more. Afterwards it does nothing."""
        self._done = None
        self._close()

    # --- Watched

    def on_ready(self, ready: int) -> None:
        sock = self._sock
        if sock is None:
            return
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            try:
                sock.getpeername()
            except OSError:
                return  # woken in vain: it is still under way
        self._poller.forget(sock.fileno())
        self._tell(error)

    def on_fault(self) -> None:
        self._tell(errno.EIO)

    # --- inside

    def _tell(self, error: int) -> None:
        done, self._done = self._done, None
        if error:
            self._close()
        sock, self._sock = self._sock, None
        if done is not None:
            done(sock, error)

    def _close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._poller.forget(sock.fileno())
            sock.close()
