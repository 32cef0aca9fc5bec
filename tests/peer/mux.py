"""A straightforward yamux endpoint, both roles, as a machine without input or output.

Knows frames, streams, windows, half-close, reset, pings and go-away. Whole frames are kept in memory. It also plays
referee: whatever the other side does against the rules lands in ``violations``, so a test can ask for an empty list.
"""

import struct
from dataclasses import dataclass, field

HEADER = struct.Struct("!BBHII")
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
INITIAL_WINDOW = 262_144
#: A sender cuts Data bodies at this size; any larger size up to the window is legal too.
SPLIT_BYTES = 16_384


def header(kind: int, flags: int, stream_id: int, length: int, version: int = 0) -> bytes:
    """The 12 bytes of a frame header."""
    return HEADER.pack(version, kind, flags, stream_id, length)


@dataclass
class MuxStream:
    """One stream: what has arrived, what may be sent, and which ends are closed."""

    id: int
    inbox: bytearray = field(default_factory=bytearray)
    send_window: int = INITIAL_WINDOW
    receive_window: int = INITIAL_WINDOW
    opened_here: bool = True
    syn_sent: bool = False
    #: we have acknowledged it (accepted), or it has been acknowledged (opened here)
    acked: bool = False
    local_finished: bool = False
    remote_finished: bool = False
    was_reset: bool = False
    #: Data bodies as they came and as they were sent, for tests that look at habits
    body_sizes: list[int] = field(default_factory=list)
    sent_sizes: list[int] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Nothing more will arrive."""
        return self.remote_finished or self.was_reset


class Mux:
    """One end of a session. ``client`` opens odd ids. Sent pieces (headers, bodies) pile up in ``outbox``."""

    def __init__(self, client: bool, ping_nonce: int = 0x5EED, split: int = SPLIT_BYTES) -> None:
        self._next_id = 1 if client else 2
        self._remote_parity = 0 if client else 1
        self._buffer = bytearray()
        self.split = split
        self.outbox: list[bytes] = []
        self.streams: dict[int, MuxStream] = {}
        self.accepted: list[MuxStream] = []
        self.violations: list[str] = []
        self.pings_awaited: list[int] = []
        self.pongs = 0
        self.go_away: int | None = None
        #: header fields of every frame that came, in order
        self.frames: list[tuple[int, int, int, int]] = []
        #: set to False by a test that wants to stall the other side
        self.grants_credit = True
        self.ping(ping_nonce)

    # what the application does

    def open(self) -> MuxStream:
        """A new stream; its first frame carries SYN."""
        stream = MuxStream(self._next_id)
        self._next_id += 2
        self.streams[stream.id] = stream
        return stream

    def send(self, stream: MuxStream, data: bytes) -> int:
        """Sends as much as the window allows; gives the number of bytes taken."""
        taken = 0
        while taken < len(data) and stream.send_window and not stream.was_reset:
            body = data[taken : taken + min(self.split, stream.send_window)]
            self._frame(DATA, self._flags(stream), stream.id, len(body), body)
            stream.send_window -= len(body)
            stream.sent_sizes.append(len(body))
            taken += len(body)
        return taken

    def finish(self, stream: MuxStream) -> None:
        """Half-close: no more data from here."""
        if not stream.local_finished and not stream.was_reset:
            stream.local_finished = True
            self._frame(DATA, FIN | self._flags(stream), stream.id, 0)

    def reset(self, stream: MuxStream) -> None:
        """Abort both directions."""
        if not stream.was_reset:
            stream.was_reset = True
            self._frame(DATA, RST, stream.id, 0)

    def take(self, stream: MuxStream, size: int) -> bytes:
        """The application reads up to ``size`` bytes; credit goes back by the half window."""
        data = bytes(stream.inbox[:size])
        del stream.inbox[:size]
        owed = INITIAL_WINDOW - stream.receive_window - len(stream.inbox)
        if self.grants_credit and owed >= INITIAL_WINDOW // 2 and not stream.ended:
            self.grant(stream, owed)
        return data

    def grant(self, stream: MuxStream, credit: int) -> None:
        """One WindowUpdate of ``credit`` bytes."""
        stream.receive_window += credit
        self._frame(WINDOW_UPDATE, self._flags(stream), stream.id, credit)

    def ping(self, nonce: int) -> None:
        """A ping; its pong is expected."""
        self.pings_awaited.append(nonce)
        self._frame(PING, SYN, 0, nonce)

    def drain(self) -> list[bytes]:
        """Everything to send, headers and bodies as separate pieces."""
        pieces, self.outbox = self.outbox, []
        return pieces

    # what the other side does

    def receive(self, data: bytes) -> None:
        """Takes bytes of the other side."""
        self._buffer += data
        while self.go_away is None and (frame := self._next_frame()) is not None:
            self._on_frame(*frame)

    def _next_frame(self) -> tuple[int, int, int, int, bytes] | None:
        if len(self._buffer) < HEADER.size:
            return None
        version, kind, flags, stream_id, length = HEADER.unpack_from(self._buffer)
        if version != 0 or kind > GO_AWAY:
            self.violations.append(f"header with version {version}, type {kind}")
            self._buffer.clear()
            return None
        end = HEADER.size + (length if kind == DATA else 0)
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return kind, flags, stream_id, length, body

    def _on_frame(self, kind: int, flags: int, stream_id: int, length: int, body: bytes) -> None:
        self.frames.append((kind, flags, stream_id, length))
        if kind == PING:
            self._on_ping(flags, length)
        elif kind == GO_AWAY:
            self.go_away = length
        elif (stream := self._stream_for(flags, stream_id)) is not None:
            if kind == DATA:
                self._on_data(stream, body)
            else:
                stream.send_window += length
            self._on_flags(stream, flags)

    def _on_ping(self, flags: int, nonce: int) -> None:
        if not flags & ACK:
            self._frame(PING, ACK, 0, nonce)
        elif nonce in self.pings_awaited:
            self.pings_awaited.remove(nonce)
            self.pongs += 1
        else:
            self.violations.append("pong that nobody asked for")

    def _stream_for(self, flags: int, stream_id: int) -> MuxStream | None:
        if not flags & SYN:
            return self.streams.get(stream_id)
        if stream_id % 2 != self._remote_parity or stream_id in self.streams:
            self.violations.append(f"SYN for stream {stream_id}")
            return None
        stream = MuxStream(stream_id, opened_here=False)
        self.streams[stream_id] = stream
        self.accepted.append(stream)
        return stream

    def _on_data(self, stream: MuxStream, body: bytes) -> None:
        if len(body) > stream.receive_window:
            self.violations.append(f"stream {stream.id}: {len(body)} bytes, window {stream.receive_window}")
        if body and stream.remote_finished:
            self.violations.append(f"stream {stream.id}: data after FIN")
        stream.receive_window -= len(body)
        stream.body_sizes.append(len(body))
        stream.inbox += body

    def _on_flags(self, stream: MuxStream, flags: int) -> None:
        if stream.opened_here and not stream.acked and not flags & RST:
            if not flags & ACK:
                self.violations.append(f"stream {stream.id}: first frame without ACK")
            stream.acked = True
        if flags & FIN:
            stream.remote_finished = True
        if flags & RST:
            stream.was_reset = True

    def _flags(self, stream: MuxStream) -> int:
        if stream.opened_here:
            first, stream.syn_sent = not stream.syn_sent, True
            return SYN if first else 0
        first, stream.acked = not stream.acked, True
        return ACK if first else 0

    def _frame(self, kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> None:
        self.outbox.append(header(kind, flags, stream_id, length))
        if body:
            self.outbox.append(body)
