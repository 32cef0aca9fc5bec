"""One local socket and one stream: bytes both ways, half-close kept, resets passed on.

Knows: the local socket, credit, pausing. Refuses to know: which side opened the stream (``dial`` and ``forward`` do),
and how the connection sends. It keeps its own byte counts: a connection is a carrier, not the owner of a socket.

How it ends: after an end of file both ways, politely. Anything else gives the local application a reset, never a clean
end of file: a truncated transfer must not look complete (WIRE Q8; ``local_socket`` says how).
"""

import socket
from time import monotonic

from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.proto.yamux.window import WindowBudget
from hyperion.worker.buffers import MAX_BODY_BYTES, local_buffer
from hyperion.worker.connection import StreamOwner, TunnelConnection
from hyperion.worker.local_socket import LocalOwner, LocalSocket
from hyperion.worker.poller import Poller
from hyperion.worker.scheduler import QUANTUM_BYTES

#: Bytes kept of a local socket whose stream is not ready yet; twice that at most. Nearly every client speaks at once.
EARLY_READ_BYTES = 16 * 1024


class Relay(LocalOwner, StreamOwner):
    """Base of both directions of opening. Subclasses bring the stream and the socket, and then call ``_start``."""

    __slots__ = (
        "_credit_owed",
        "_early_out",
        "_ended",
        "_held",
        "_left_behind",
        "_local",
        "_local_ended",
        "_peer_ended",
        "_started",
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
        self._local: LocalSocket | None = None
        self._started = False
        self._early_out = b""  # from the local socket, before the stream was ready for it
        self._held = False  # not reading: waiting for its turn
        self._credit_owed = 0  # bytes given to the local socket while it was full
        self._local_ended = False
        self._peer_ended = False  # told by ``on_finish``; the stream knows it before its last data was handed on
        self._ended = False
        self._left_behind: tuple[WindowBudget, int] | None = None  # bytes that its connection answers for

    # --- for subclasses

    def relay_ended(self, reason: str) -> None:
        """Called once, when everything is over; ``reason`` is "finished" or what went wrong."""

    def _attach(self, connection: TunnelConnection, stream: YamuxStream) -> None:
        self.connection = connection
        self.stream = stream
        connection.adopt(stream, self)

    def _take(self, sock: socket.socket, poller: Poller) -> None:
        """``sock``, prepared and connected, is the local end. It is not read yet."""
        self._local = LocalSocket(sock, poller, self)

    def _start(self) -> None:
        """Both ends are there: let bytes flow."""
        self._started = True
        self._send_early()
        self._read_if_allowed()
        if self._peer_ended:
            self.on_finish()  # the peer said its last word before we were ready to hear it

    def _deliver(self, data: memoryview) -> None:
        """Bytes of the peer for the local socket. Credit goes back when the kernel took them, nearly."""
        size = len(data)
        self.bytes_in += size
        local = self._local
        if local is None:
            return
        local.write(data)
        if local.full:
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

    def read_limit(self) -> int:
        """As far as credit and turn allow. Never nothing: else we do not read."""
        connection, stream = self.connection, self.stream
        if connection is None or stream is None or not self._started:
            return EARLY_READ_BYTES
        return max(min(stream.send_window, connection.scheduler.read_limit, MAX_BODY_BYTES), 1)

    def on_local_data(self, size: int) -> None:
        if not self._started:
            self._keep_early(size)
            return
        connection, stream = self.connection, self.stream
        if connection is None or stream is None or stream.send_closed:
            return  # about to be closed: nobody wants it any more
        self.bytes_out += size
        connection.send_from_buffer(stream, size)
        connection.scheduler.sent(self, size)
        if not stream.send_window and self._local is not None:
            self._local.pause_reading()

    def on_local_end(self) -> None:
        self._local_ended = True
        if self._started and not self._early_out and self.connection is not None and self.stream is not None:
            self.connection.finish(self.stream)
            self._finish_if_done()

    def on_local_drained(self) -> None:
        owed, self._credit_owed = self._credit_owed, 0
        if owed and self.connection is not None and self.stream is not None:
            self.connection.consumed(self.stream, owed)

    def on_local_closed(self, error: OSError | None) -> None:
        self._local = None
        if not self._ended:
            self._detach(reset=True)
            self._report("finished" if error is None else "local-error")

    # --- stream

    def on_data(self, data: memoryview) -> None:
        self._deliver(data)

    def on_finish(self) -> None:
        self._peer_ended = True
        if self._local is None or not self._started:
            return
        if self._local_ended:
            self._finish_if_done()  # closing says it, too
        else:
            self._local.write_eof()

    def on_reset(self, reason: str) -> None:
        if not self._ended:
            self._detach(reset=False)
            self._abort_local()
            self._report(reason)

    def on_window(self) -> None:
        self._read_if_allowed()

    # --- turns

    def hold(self) -> None:
        self._held = True
        if self._local is not None:
            self._local.pause_reading()

    def release(self) -> None:
        self._held = False
        self._read_if_allowed()

    # --- inside

    def _read_if_allowed(self) -> None:
        if self._started and self._early_out:
            self._send_early()
        stream = self.stream
        if (
            self._local is not None
            and self._started
            and not self._held
            and not self._early_out
            and not self._local_ended
            and stream is not None
            and stream.send_window > 0
        ):
            self._local.resume_reading()

    def _keep_early(self, size: int) -> None:
        """Keep a little of what comes before the start. Pausing and resuming for it would cost more than keeping it."""
        self._early_out += local_buffer[HEADER_BYTES : HEADER_BYTES + size]
        if len(self._early_out) >= EARLY_READ_BYTES and self._local is not None:
            self._local.pause_reading()

    def _send_early(self) -> None:
        """What came before the start goes out first, as if it was read only now: as far as credit and turn allow.

        Hundreds of streams may start in one turn. On a slow link their bytes must not pile up in our memory.
        """
        connection, stream = self.connection, self.stream
        if connection is None or stream is None or stream.send_closed or stream.gone:
            self._early_out = b""  # nobody wants it any more
            return
        while self._early_out and not self._held and stream.send_window:
            size = min(len(self._early_out), self.read_limit())
            local_buffer[HEADER_BYTES : HEADER_BYTES + size] = self._early_out[:size]
            self._early_out = self._early_out[size:]
            self.on_local_data(size)
        if self._early_out:
            if self._local is not None:
                self._local.pause_reading()
        elif self._local_ended:
            connection.finish(stream)
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        """Both sides said their last word: let the rest drain, then close."""
        if self._ended or self._early_out or not self._local_ended or not self._peer_ended:
            return
        connection = self.connection
        self._detach(reset=False)
        if self._local is not None:
            if connection is not None and self._local.waiting_bytes:
                self._left_behind = connection.tunnel.mux.budget, self._local.waiting_bytes
                self._left_behind[0].hold(self._left_behind[1])
            self._local.close()  # ``on_local_closed`` reports, once a slow application has taken everything

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
        """Reset the local socket, at once: its application must not take this for a clean end."""
        local, self._local = self._local, None
        if local is not None:
            local.abort()

    def _report(self, reason: str) -> None:
        self._ended = True
        if self._left_behind is not None:
            budget, size = self._left_behind
            budget.give_back(size)
        self.relay_ended(reason)
