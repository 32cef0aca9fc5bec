"""One local socket and one stream: bytes both ways, half-close kept, resets passed on.

Knows: the local transport, credit, pausing. Refuses to know: which side opened the stream (``dial`` and ``forward``
do), and how the connection sends. It keeps its own byte counts: a connection is a carrier, not the owner of a socket.

How it ends: after an end of file both ways, politely. Anything else gives the local application a reset, never a clean
end of file: a truncated transfer must not look complete (WIRE Q8). That holds for kill -9 of this process as well: a
socket is born with the order to be reset when it is closed, and only a polite end takes the order back.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from time import monotonic

from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.worker.buffers import MAX_BODY_BYTES, local_buffer
from hyperion.worker.connection import StreamOwner, TunnelConnection, as_transport
from hyperion.worker.scheduler import QUANTUM_BYTES

#: Bytes that wait in our memory for a slow local application before its peer gets no more credit.
LOCAL_HIGH_BYTES = 64 * 1024

#: Full reads of one local socket in a row: 256 KiB, a third of a millisecond.
MAX_BURST = 4
#: Bytes kept of a local socket whose stream is not ready yet; twice that at most. Nearly every client speaks at once.
EARLY_READ_BYTES = 16 * 1024

# The structure is two ints, but on Windows two shorts. With the first, close() sends RST instead of FIN, also when the
# kernel closes for a process that died; with the second, it sends what is left and then FIN.
_LINGER = "hh" if sys.platform == "win32" else "ii"
_RESET_AT_CLOSE = struct.pack(_LINGER, 1, 0)
_FINISH_AT_CLOSE = struct.pack(_LINGER, 0, 0)


def reset_at_close(sock: socket.socket) -> None:
    """From now on ``sock``, and each socket accepted on it, is reset when it is closed, whoever closes it."""
    _set_linger(sock, _RESET_AT_CLOSE)


def _set_linger(sock: socket.socket | None, value: bytes) -> None:
    if sock is not None:
        with contextlib.suppress(OSError, ValueError):  # already gone; the latter is uvloop's word for it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


class Relay(asyncio.BufferedProtocol, StreamOwner):
    """Base of both directions of opening. Subclasses open the stream or the socket and then call ``_start``."""

    __slots__ = (
        "_burst",
        "_credit_owed",
        "_early_out",
        "_ended",
        "_finished",
        "_held",
        "_local_ended",
        "_peer_ended",
        "_started",
        "_transport",
        "_write_paused",
        "bytes_in",
        "bytes_out",
        "connection",
        "quantum",
        "started_at",
        "stream",
    )

    def __init__(self) -> None:
        self.connection: TunnelConnection | None = None
        self.stream: YamuxStream | None = None
        self.quantum = QUANTUM_BYTES
        #: bytes from the peer to the local socket, and the other way
        self.bytes_in = 0
        self.bytes_out = 0
        self.started_at = monotonic()
        self._transport: asyncio.Transport | None = None
        self._started = False
        self._early_out = b""  # from the local socket, before the stream was ready for it
        self._burst = 0  # full reads since the last pause
        self._held = False  # not reading: waiting for its turn
        self._write_paused = False
        self._credit_owed = 0  # bytes given to the transport while it was full
        self._local_ended = False
        self._peer_ended = False  # told by ``on_finish``; the stream knows it before its last data was handed on
        self._finished = False  # both sides said their last word; what is left to write is being written
        self._ended = False

    # --- for subclasses

    def relay_ended(self, reason: str) -> None:
        """Called once, when everything is over; ``reason`` is "finished" or what went wrong."""

    def _attach(self, connection: TunnelConnection, stream: YamuxStream) -> None:
        self.connection = connection
        self.stream = stream
        connection.adopt(stream, self)

    def _start(self) -> None:
        """Both ends are there: let bytes flow."""
        self._started = True
        self._send_early()
        self._read_if_allowed()
        if self._peer_ended:
            self.on_finish()  # the peer said its last word before we were ready to hear it

    def _deliver(self, data: memoryview) -> None:
        """Bytes of the peer for the local socket. Credit goes back when the kernel took them."""
        size = len(data)
        self.bytes_in += size
        if self._transport is None:
            return
        self._transport.write(data)
        if self._write_paused:
            self._credit_owed += size
        elif self.connection is not None and self.stream is not None:
            self.connection.consumed(self.stream, size)

    def end(self, reason: str) -> None:
        """Abort both sides, if not over yet."""
        if self._ended:
            return
        self._detach(reset=True)
        self._abort_local()
        self._report(reason)

    # --- local socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # TCP_NODELAY is set by the loop (asyncio and uvloop both do); asking for the socket costs 20 us a connection
        tcp = as_transport(transport)
        self._transport = tcp
        tcp.set_write_buffer_limits(LOCAL_HIGH_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The shared buffer, behind room for a header, as far as credit and turn allow.

        Never empty: else we do not read.
        """
        connection, stream = self.connection, self.stream
        if connection is None or stream is None or not self._started:
            return local_buffer[HEADER_BYTES : HEADER_BYTES + EARLY_READ_BYTES]
        limit = min(stream.send_window, connection.scheduler.read_limit, MAX_BODY_BYTES)
        return local_buffer[HEADER_BYTES : HEADER_BYTES + max(limit, 1)]

    def buffer_updated(self, nbytes: int) -> None:
        if not self._started:
            self._keep_early(nbytes)
            return
        connection, stream = self.connection, self.stream
        if connection is None or stream is None or stream.send_closed:
            return  # about to be closed: nobody wants it any more
        self.bytes_out += nbytes
        connection.send_from_buffer(stream, nbytes)
        scheduler = connection.scheduler
        scheduler.sent(self, nbytes)
        if nbytes >= scheduler.read_limit and not self._held:
            self._breathe()
        if not stream.send_window and self._transport is not None and not self._held:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The local application sends no more; it may still read."""
        self._local_ended = True
        if self._started and self.connection is not None and self.stream is not None:
            self.connection.finish(self.stream)
            self._finish_if_done()
        return not (self._finished or self._ended)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        owed, self._credit_owed = self._credit_owed, 0
        if owed and self.connection is not None and self.stream is not None:
            self.connection.consumed(self.stream, owed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._ended:
            return
        self._detach(reset=True)
        if exc is not None:
            self._report("local-error")
        else:
            self._report("finished" if self._finished else "local-closed")

    # --- stream

    def on_data(self, data: memoryview) -> None:
        if self._transport is not None:
            self._deliver(data)

    def on_finish(self) -> None:
        self._peer_ended = True
        if self._transport is None or not self._started:
            return
        if self._local_ended:
            self._finish_if_done()  # closing says it, too
        else:
            self._transport.write_eof()

    def on_reset(self, reason: str) -> None:
        if not self._ended:
            self._detach(reset=False)
            # one turn later: what this turn delivered goes out before the reset
            asyncio.get_running_loop().call_soon(self._abort_local)
            self._report(reason)

    def on_window(self) -> None:
        self._read_if_allowed()

    # --- turns

    def hold(self) -> None:
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self) -> None:
        self._held = False
        self._read_if_allowed()

    # --- inside

    def _read_if_allowed(self) -> None:
        stream = self.stream
        if (
            self._transport is not None
            and self._started
            and not self._held
            and not self._local_ended
            and stream is not None
            and stream.send_window > 0
            and not self._transport.is_closing()
        ):
            self._transport.resume_reading()

    def _breathe(self) -> None:
        """There is more to read. libuv would go on for up to 32 buffers; after a few, others get their turn."""
        self._burst += 1
        if self._burst >= MAX_BURST and self._transport is not None:
            self._burst = 0
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_if_allowed)

    def _keep_early(self, size: int) -> None:
        """Keep a little of what comes before the start. Pausing and resuming for it would cost more than keeping it."""
        self._early_out += local_buffer[HEADER_BYTES : HEADER_BYTES + size]
        if len(self._early_out) >= EARLY_READ_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def _send_early(self) -> None:
        """What came before the start goes out first; a fresh stream has credit for it."""
        early, self._early_out = self._early_out, b""
        if self.connection is None or self.stream is None:
            return
        if early:
            self.bytes_out += len(early)
            self.connection.send(self.stream, early)
        if self._local_ended:
            self.connection.finish(self.stream)

    def _finish_if_done(self) -> None:
        """Both sides said their last word: let the rest drain, then close."""
        if self._ended or not self._local_ended or not self._peer_ended:
            return
        self._detach(reset=False)
        self._finished = True
        if self._transport is not None:
            _set_linger(self._transport.get_extra_info("socket"), _FINISH_AT_CLOSE)
            self._transport.close()  # ``connection_lost`` reports, once a slow application has taken everything

    def _detach(self, *, reset: bool) -> None:
        connection, stream = self.connection, self.stream
        if connection is None or stream is None:
            return
        connection.scheduler.forget(self)
        connection.release(stream, self)
        if reset:
            connection.reset(stream)
        self.connection = None
        self.stream = None

    def _abort_local(self) -> None:
        """Reset the local socket: its application must not take this for a clean end."""
        transport = self._transport
        if transport is None:
            return
        _set_linger(transport.get_extra_info("socket"), _RESET_AT_CLOSE)
        transport.abort()

    def _report(self, reason: str) -> None:
        self._ended = True
        self.relay_ended(reason)
