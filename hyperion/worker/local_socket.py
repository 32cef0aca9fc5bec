"""One connected stream socket of this machine: an application's on the client, a service's on the server.

Knows: non-blocking reads and writes, what waits in our memory for a slow reader, the three ways to end. Refuses to know
streams, credit and turns; its owner tells it when to read.

How it ends: ``close`` politely, after what waits; ``abort`` with a TCP reset, at once. A socket is born with the order
to be reset when it is closed (``prepare``), and only ``close`` takes the order back. So kill -9 of this process resets
it, too: a truncated transfer must not look complete (WIRE Q8). A Unix socket has no reset: there, whoever reads sees an
end of file in both cases, which is for the protocol on that socket to tell apart.
"""

import asyncio
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.worker.buffers import local_buffer
from hyperion.worker.poller import READ, WRITE, Poller

#: Bytes that wait in our memory for a slow local application before its peer gets no more credit.
LOCAL_HIGH_BYTES: Final = 64 * 1024
#: ... and how many may be left when its peer gets credit again.
LOCAL_LOW_BYTES: Final = 16 * 1024

#: Pieces that wait are joined up to this size, bytes: a peer may send a byte a frame, and an object of its own for each
#: would need a hundred times the memory. Larger ones stay as they are; joining them would only copy.
JOINED_BYTES: Final = 16 * 1024

#: Full reads of one socket in a row: 256 KiB, a third of a millisecond.
MAX_BURST: Final = 4

# The structure is two ints, but on Windows two shorts. With the first, close() sends RST instead of FIN, also when the
# kernel closes for a process that died; with the second, it sends what is left and then FIN.
_LINGER: Final = "hh" if sys.platform == "win32" else "ii"
_RESET_AT_CLOSE: Final = struct.pack(_LINGER, 1, 0)
_FINISH_AT_CLOSE: Final = struct.pack(_LINGER, 0, 0)

#: Where the bytes that were read lie: behind room for a frame header.
_BODY: Final = local_buffer[HEADER_BYTES:]


def prepare(sock: socket.socket) -> None:
    """Make ``sock`` what a ``LocalSocket`` expects: non-blocking, no delay for small writes, reset when it is closed.

    On Linux, sockets accepted on a prepared listener inherit the last two. What a kind of socket does not have (a Unix
    socket knows no delay) it does without.
    """
    make_quick(sock)
    reset_at_close(sock)


def reset_at_close(sock: socket.socket) -> None:
    """From now on ``sock`` is reset when it is closed, whoever closes it. Also for a socket that others share."""
    _set_linger(sock, _RESET_AT_CLOSE)


def finish_at_close(sock: socket.socket) -> None:
    """Takes that order back: what waits in the kernel is sent, then an end of file."""
    _set_linger(sock, _FINISH_AT_CLOSE)


def make_quick(sock: socket.socket) -> None:
    """Non-blocking, and no delay for small writes."""
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # a Unix socket
        return


def _set_linger(sock: socket.socket, value: bytes) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)
    except OSError:  # already gone
        return


class LocalOwner(ABC):
    """Whoever has a local socket. All calls come from the loop, but for the one that ``close`` makes itself."""

    __slots__ = ()

    @abstractmethod
    def read_limit(self) -> int:
        """How many bytes may be read now, at least 1: asked before each read, and never while reading is paused."""

    @abstractmethod
    def on_local_data(self, size: int) -> None:
        """``size`` bytes lie in ``local_buffer``, behind room for a frame header, until this returns."""

    @abstractmethod
    def on_local_end(self) -> None:
        """The application sends no more; it may still read."""

    @abstractmethod
    def on_local_drained(self) -> None:
        """What waited was taken, all but a little (after ``write`` said that it waits)."""

    @abstractmethod
    def on_local_closed(self, error: OSError | None) -> None:
        """It is gone: closed politely, everything taken, or broken. Not told to whoever aborts it."""


class LocalSocket:
    """Takes over ``sock``, which is prepared and connected. It reads nothing before ``resume_reading``."""

    __slots__ = (
        "_breaking",
        "_ended",
        "_interest",
        "_last_words",
        "_number",
        "_owner",
        "_polite",
        "_poller",
        "_sock",
        "_waiting",
        "full",
        "waiting_bytes",
    )

    def __init__(self, sock: socket.socket, poller: Poller, owner: LocalOwner) -> None:
        self._sock = sock
        self._number = sock.fileno()
        self._poller = poller
        self._owner = owner
        self._interest = 0
        self._waiting: deque[memoryview | bytearray] | None = None  # most sockets never have any
        self._last_words = False  # nothing is written after what waits
        self._polite = False  # ... and then it is closed
        self._breaking = False  # broken, which the owner hears in the next turn
        self._ended = False  # aborted, closed or broken
        #: bytes that wait in our memory until the application reads
        self.waiting_bytes = 0
        #: more than LOCAL_HIGH_BYTES have waited, and LOCAL_LOW_BYTES are not reached yet
        self.full = False

    # --- reading

    def resume_reading(self) -> None:
        """Read whenever there is something."""
        if not self._interest & READ and not self._ended and not self._polite:
            self._set_interest(self._interest | READ)

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        if self._interest & READ:
            self._set_interest(self._interest & ~READ)

    # --- writing

    def write(self, data: memoryview) -> None:
        """Hand ``data`` to the kernel, or keep a copy until the kernel has room for it. See ``full`` afterwards.

        Never raises: a broken socket is told later. After ``write_eof`` or the end of the socket nothing is written.
        """
        if self._ended or self._last_words:
            return
        if not self._waiting:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._break_soon(error)
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._keep(data)

    def write_eof(self) -> None:
        """Half-close: an end of file behind what waits."""
        if not self._last_words and not self._ended:
            self._last_words = True
            if not self._waiting:
                self._shut_down()

    def close(self) -> None:
        """End politely: what waits, an end of file, and then the owner is told.

        If it broke in this turn, the owner is told of that instead: not everything was taken.
        """
        self._last_words = True
        self._polite = True
        if self._ended or self._breaking:
            return
        if self._waiting:
            if self._interest != WRITE:
                self._set_interest(WRITE)
        else:
            self._finish()

    def abort(self) -> None:
        """End now, with a reset: the application must not take this for a clean end. The owner is not told."""
        if not self._ended:
            self._ended = True
            self._discard()
            _set_linger(self._sock, _RESET_AT_CLOSE)
            self._sock.close()

    # --- Watched

    def on_ready(self, ready: int) -> None:
        if self._interest & WRITE and ready & ~READ:
            self._write_waiting()
        if not self._interest & READ or not ready & ~WRITE:
            return
        # A few full reads; then it is somebody else's turn, and the poller will come again.
        owner = self._owner
        receive = self._sock.recv_into
        for _ in range(MAX_BURST):
            limit = owner.read_limit()
            try:
                size = receive(_BODY, limit)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._break(error)
                return
            if not size:
                self._set_interest(self._interest & ~READ)
                owner.on_local_end()
                return
            owner.on_local_data(size)
            if size < limit or not self._interest & READ:
                return

    def on_fault(self) -> None:
        self._interest = 0
        self._break_soon(OSError("internal error"))

    # --- inside

    def _keep(self, data: memoryview) -> None:
        if self._waiting is None:
            self._waiting = deque()
        waiting = self._waiting
        if len(data) >= JOINED_BYTES:
            waiting.append(memoryview(bytes(data)))
        elif waiting and type(last := waiting[-1]) is bytearray and len(last) < JOINED_BYTES:
            last += data
        else:
            waiting.append(bytearray(data))
        self.waiting_bytes += len(data)
        if self.waiting_bytes > LOCAL_HIGH_BYTES:
            self.full = True
        if not self._interest & WRITE:
            self._set_interest(self._interest | WRITE)

    def _write_waiting(self) -> None:
        waiting = self._waiting
        while waiting:
            data = waiting[0]
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._break(error)
                return
            self.waiting_bytes -= sent
            if sent < len(data):
                if type(data) is bytearray:
                    del data[:sent]
                else:
                    waiting[0] = data[sent:]
                break
            waiting.popleft()
        if not waiting:
            self._all_written()
        if self.full and self.waiting_bytes <= LOCAL_LOW_BYTES:
            self.full = False
            self._owner.on_local_drained()

    def _all_written(self) -> None:
        if self._polite:
            self._finish()
            return
        self._set_interest(self._interest & ~WRITE)
        if self._last_words:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:  # reset by the application meanwhile
            self._break_soon(error)

    def _finish(self) -> None:
        """Everything was said: FIN, and told at once."""
        self._ended = True
        self._discard()
        _set_linger(self._sock, _FINISH_AT_CLOSE)
        self._sock.close()
        self._owner.on_local_closed(None)

    def _break_soon(self, error: OSError) -> None:
        """Broken in the middle of a call of the owner's: it hears of it in the next turn."""
        self._breaking = True
        self._last_words = True
        self._discard()
        asyncio.get_running_loop().call_soon(self._break, error)

    def _break(self, error: OSError) -> None:
        if not self._ended:
            self.abort()
            self._owner.on_local_closed(error)

    def _discard(self) -> None:
        """Wait for nothing, keep nothing."""
        if self._interest:
            self._set_interest(0)
        if self._waiting is not None:
            self._waiting = None
            self.waiting_bytes = 0
            self.full = False

    def _set_interest(self, interest: int) -> None:
        """To something else than before."""
        self._interest = interest
        if not interest:
            self._poller.forget(self._number)
            return
        try:
            self._poller.watch(self._number, self, interest)
        except OSError as error:  # no room in the kernel for one more watched socket
            self._interest = 0
            self._break_soon(error)
