"""A mux over records over a blocking socket: one thread reads, one writes, applications block on conditions.

Knows how plaintext is cut into records: ``plain`` as the Rust original does it (header and body each in a record of its
own, 16,384 bytes at most), otherwise everything that is waiting goes out together. Refuses to know the handshake.
"""

import socket
import threading
from collections import deque

from tests.peer.mux import Mux, MuxStream, header
from tests.peer.noise import SessionKeys
from tests.peer.records import PLAIN_RECORD_BYTES, PeerRecordError, RecordReader, RecordWriter

#: Seconds after which a wait in a test is a failure.
WAIT_SECONDS = 20.0


class PeerSessionError(Exception):
    """The session ended, or a wait took too long."""


class PeerSession:
    """One end of an established connection. Thread-safe."""

    def __init__(
        self,
        connection: socket.socket,
        keys: SessionKeys,
        *,
        client: bool,
        plain: bool = True,
        send_limit: int = PLAIN_RECORD_BYTES,
        receive_limit: int = PLAIN_RECORD_BYTES,
        start: bool = True,
    ) -> None:
        send_key, receive_key = keys.client_to_server, keys.server_to_client
        if not client:
            send_key, receive_key = receive_key, send_key
        self.keys = keys
        self.plain = plain
        self.writer = RecordWriter(send_key, send_limit)
        self.reader = RecordReader(receive_key, receive_limit)
        self.mux = Mux(client)
        self.changed = threading.Condition()
        #: why the session is over: ``"eof"``, ``"truncated"``, ``"reset"``, ``"record"``, ``"go-away"``, ``"closed"``
        self.ended: str | None = None
        self._connection = connection
        self._outgoing: deque[bytes] = deque()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._read_loop, self._write_loop)]
        self._connection.settimeout(None)
        if start:
            self.start()

    def start(self) -> None:
        """Sends the first ping and begins to read."""
        with self.changed:
            self.flush()
        for thread in self._threads:
            thread.start()

    # for applications

    def open_stream(self, first: bytes) -> "PeerStream":
        """Opens a stream whose SYN frame carries ``first``."""
        with self.changed:
            stream = self.mux.open()
            self.mux.send(stream, first)
            self.flush()
        return PeerStream(self, stream)

    def next_accepted(self, timeout: float = WAIT_SECONDS) -> "PeerStream | None":
        """The next stream the other side opened, ``None`` when the session is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.mux.accepted or self.ended, timeout)
            return PeerStream(self, self.mux.accepted.pop(0)) if self.mux.accepted else None

    def ping(self, nonce: int, timeout: float = WAIT_SECONDS) -> None:
        """Pings and waits for the pong. Raises ``PeerSessionError``."""
        with self.changed:
            goal = self.mux.pongs + len(self.mux.pings_awaited) + 1
            self.mux.ping(nonce)
            self.flush()
            self.wait(lambda: self.mux.pongs >= goal, timeout)

    def wait_end(self, timeout: float = WAIT_SECONDS) -> str:
        """Waits until the other side has ended the session; gives the reason."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, timeout):
                raise PeerSessionError("the session goes on")
            return self.ended or ""

    def close(self) -> None:
        """Drops the connection without ceremony, like the original."""
        self._end("closed")
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(WAIT_SECONDS)
        self._connection.close()

    # hooks for tests: each goes out as it is, past all rules

    def send_raw_bytes(self, data: bytes) -> None:
        """Bytes straight onto the connection."""
        with self.changed:
            self._queue(data)

    def send_raw_record(self, plaintext: bytes) -> None:
        """One record with exactly this plaintext, of any size."""
        with self.changed:
            self._queue(self.writer.seal(plaintext))

    def send_raw_frame(self, kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> None:
        """One frame with these header fields; ``length`` need not be true."""
        self.send_raw_record(header(kind, flags, stream_id, length) + body)

    # inside; the lock is held

    def flush(self) -> None:
        """Seals what the mux wants to send."""
        pieces = self.mux.drain()
        if self.plain:
            self._queue(b"".join(self.writer.seal_all(piece) for piece in pieces))
        else:
            self._queue(self.writer.seal_all(b"".join(pieces)))

    def wait(self, ready: object, timeout: float) -> None:
        """Waits for ``ready()`` or the end of the session. Raises ``PeerSessionError`` if it is not ready then."""
        assert callable(ready)
        self.changed.wait_for(lambda: ready() or self.ended, timeout)
        if not ready():
            raise PeerSessionError(f"session {self.ended}" if self.ended else "waited too long")

    def _queue(self, data: bytes) -> None:
        if data:
            self._outgoing.append(data)
            self.changed.notify_all()

    def _end(self, reason: str) -> None:
        with self.changed:
            self.ended = self.ended or reason
            self.changed.notify_all()
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster

    def _read_loop(self) -> None:
        reason = "go-away"
        while self.mux.go_away is None and not self.ended:
            try:
                data = self._connection.recv(1 << 18)
                if not data:
                    reason = "truncated" if self.reader.in_record else "eof"
                    break
                self._on_bytes(data)
            except PeerRecordError:
                reason = "record"
                break
            except OSError:
                reason = "reset"
                break
        self._end(reason)

    def _on_bytes(self, data: bytes) -> None:
        with self.changed:
            for plaintext in self.reader.feed(data):
                self.mux.receive(plaintext)
            self.flush()
            self.changed.notify_all()

    def _write_loop(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._outgoing or self.ended)
                if not self._outgoing or self.ended == "closed":
                    return
                data = b"".join(self._outgoing)
                self._outgoing.clear()
            try:
                self._connection.sendall(data)
            except OSError:
                return  # the read loop says why


class PeerStream:
    """Blocking face of one stream."""

    def __init__(self, session: PeerSession, stream: MuxStream) -> None:
        self.session = session
        self.state = stream

    @property
    def was_reset(self) -> bool:
        """The other side (or we) aborted it."""
        return self.state.was_reset

    def read(self, size: int, timeout: float = WAIT_SECONDS) -> bytes:
        """Up to ``size`` bytes; ``b""`` at the end, also after a reset once all that came before it was read."""
        session = self.session
        with session.changed:
            session.wait(lambda: self.state.inbox or self.state.ended, timeout)
            data = session.mux.take(self.state, size)
            session.flush()
            return data

    def read_exactly(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end."""
        parts = bytearray()
        while len(parts) < size and (part := self.read(size - len(parts))):
            parts += part
        return bytes(parts)

    def read_all(self) -> bytes:
        """Everything up to the end."""
        parts = bytearray()
        while part := self.read(1 << 20):
            parts += part
        return bytes(parts)

    def exchange(self, data: bytes) -> bytes:
        """Sends all of ``data`` and half-closes, while reading to the end: what came."""

        def send() -> None:
            self.write(data)
            self.finish()

        writer = threading.Thread(target=send)
        writer.start()
        answer = self.read_all()
        writer.join()
        return answer

    def write(self, data: bytes, timeout: float = WAIT_SECONDS) -> None:
        """Sends all of ``data``, waiting for credit. Raises ``PeerSessionError`` if the stream ends first."""
        session, sent = self.session, 0
        while sent < len(data):
            with session.changed:
                session.wait(lambda: self.state.send_window or self.state.was_reset, timeout)
                if self.state.was_reset:
                    raise PeerSessionError("stream was reset")
                sent += session.mux.send(self.state, data[sent : sent + max(1 << 18, session.mux.split)])
                session.flush()

    def finish(self) -> None:
        """Half-close."""
        with self.session.changed:
            self.session.mux.finish(self.state)
            self.session.flush()

    def reset(self) -> None:
        """Abort."""
        with self.session.changed:
            self.session.mux.reset(self.state)
            self.session.flush()

    def close(self) -> None:
        """Ends it the gentle way if the other side has finished, else aborts."""
        if self.state.remote_finished:
            self.finish()
        else:
            self.reset()
        with self.session.changed:
            self.session.mux.streams.pop(self.state.id, None)
