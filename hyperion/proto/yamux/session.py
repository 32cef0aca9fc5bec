"""A yamux session: the table of streams over one ordered byte stream, as a machine without input or output.

Knows: frames, streams, credit, pings. Refuses to know: what carries the bytes, and what the streams are for.

Rules on top of the specification (WIRE section 8, and 17 for what the original does wrong):

* after a violation one go-away is queued and everything that follows is discarded: the driver sends it and hangs up
* only the client opens streams; one that a server opens is reset at once
* a Data body may be as large as the credit granted (Q22); it is passed on in parts as it arrives
* frames for unknown streams are ignored: they may have been on their way when the stream ended
"""

from collections import deque
from typing import Any

from hyperion.proto.errors import ProtocolError, StreamLimitError, StreamStateError, YamuxError
from hyperion.proto.yamux.events import (
    PeerWentAway,
    RoundTrip,
    SessionFailed,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WindowOpened,
    YamuxEvent,
)
from hyperion.proto.yamux.frame import (
    ACK,
    FIN,
    HEADER,
    INITIAL_WINDOW_BYTES,
    MAX_U32,
    RST,
    SYN,
    VERSION,
    FrameType,
    GoAwayCode,
    encode_header,
)
from hyperion.proto.yamux.keepalive import KeepAlive
from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.parser import FrameParser, HeaderFields
from hyperion.proto.yamux.resets import HastyResets
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.proto.yamux.window import ReceiveWindow, WindowBudget

# A member of the enumeration is looked up with two calls, for each frame; its value is not.
_DATA = int(FrameType.DATA)
_WINDOW_UPDATE = int(FrameType.WINDOW_UPDATE)

_DEFAULT_LIMITS = YamuxLimits()


class YamuxSession(FrameParser):
    """One side of a session. ``client`` says which: it opens streams with odd ids, and alone opens any."""

    def __init__(
        self, *, client: bool, limits: YamuxLimits = _DEFAULT_LIMITS, events: deque[Any] | None = None
    ) -> None:
        """``events``: a driver's own queue, for what happens here; by default ``next_event`` tells it."""
        super().__init__()
        self._client = client
        self._limits = limits
        self._streams: dict[int, YamuxStream] = {}
        self._events: deque[YamuxEvent] = deque() if events is None else events
        #: frames queued for ``data_to_send``: an attribute, because drivers look at it for each record
        self.pending = bytearray()
        self._queued_pongs = 0
        self._unacknowledged = 0
        self._next_id = 1
        #: what windows may still grow by; the driver holds in it what streams leave behind that ended
        self.budget = WindowBudget(limits.window_budget)
        self._keepalive = KeepAlive()
        self._hasty_resets = HastyResets(limits.max_hasty_resets)
        # the Data body that is under way
        self._body_stream: YamuxStream | None = None
        self._body_finishes = False

    # --- what the driver asks

    @property
    def stream_count(self) -> int:
        """Streams in the table."""
        return len(self._streams)

    @property
    def streams(self) -> list[YamuxStream]:
        """A copy of the table, for a driver that ends them all."""
        return list(self._streams.values())

    @property
    def round_trip(self) -> float | None:
        """Seconds of the last ping's round trip, None before the first."""
        return self._keepalive.round_trip

    @property
    def may_open(self) -> bool:
        """True if ``open_stream`` would succeed now."""
        return (
            self._client
            and not self._over
            and len(self._streams) < self._limits.max_opened
            and self._unacknowledged < self._limits.max_unacknowledged
            and self._next_id <= MAX_U32
            and self.budget.left >= 0
        )

    def next_event(self) -> YamuxEvent | None:
        """The oldest event not yet taken, None if there is none."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytearray:
        """All frames queued since the last call, in order."""
        pending = self.pending
        self.pending = bytearray()
        self._queued_pongs = 0
        return pending

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` wants to be called next; None after the end."""
        return None if self._over else self._keepalive.next_timeout()

    def handle_timeout(self, now: float) -> None:
        """Send the ping that is due; fail if the peer has been silent for too long. Call once at the start, too."""
        if self._over:
            return
        try:
            nonce = self._keepalive.next_ping(now)
        except YamuxError as error:
            self.fail(error)
            return
        if nonce is not None:
            self.pending += encode_header(FrameType.PING, SYN, 0, nonce)

    # --- what the driver orders

    def open_stream(self) -> YamuxStream:
        """A new stream. Nothing is sent until its first data. Raises StreamLimitError."""
        if not self.may_open:
            raise StreamLimitError("no further stream can be opened on this connection now")
        stream = YamuxStream(self._next_id, self._new_window(), first_flags=SYN, acknowledged=False)
        self._next_id += 2
        self._unacknowledged += 1
        self._streams[stream.id] = stream
        return stream

    def put_data_header(self, stream: YamuxStream, size: int, buffer: memoryview) -> None:
        """Account for ``size`` bytes of body and write their header to the start of ``buffer``.

        For the hot path: the caller sends header and body itself, after everything in ``data_to_send``. Raises
        StreamStateError if the stream may not send them.
        """
        HEADER.pack_into(buffer, 0, VERSION, _DATA, self._charge(stream, size), stream.id, size)

    def send_data(self, stream: YamuxStream, data: bytes | memoryview) -> None:
        """Queue ``data``, at most ``stream.send_window`` bytes, as one frame. Raises StreamStateError."""
        size = len(data)
        self.pending += HEADER.pack(VERSION, _DATA, self._charge(stream, size), stream.id, size)
        self.pending += data

    def send_finish(self, stream: YamuxStream) -> None:
        """Half-close: no more data from us. Does nothing if that was said before."""
        if stream.send_closed or stream.gone:
            return
        stream.send_closed = True
        self.pending += encode_header(FrameType.DATA, self._take_flags(stream) | FIN, stream.id, 0)
        if stream.receive_closed:
            self._forget(stream)

    def send_reset(self, stream: YamuxStream) -> None:
        """Abort the stream, both ways. A stream that was never heard of on the wire is just forgotten."""
        if stream.gone:
            return
        if not stream.first_flags & SYN:
            self.pending += encode_header(FrameType.DATA, RST, stream.id, 0)
        self._forget(stream)

    def consumed(self, stream: YamuxStream, size: int, now: float) -> bool:
        """The application took ``size`` bytes of the stream: does the peer get new credit for them now?"""
        if stream.receive_closed or stream.gone:
            return False  # nothing more will come, so nobody needs credit
        credit = stream.receive_window.consumed(size, now, self._keepalive.round_trip)
        if credit:
            self.pending += encode_header(FrameType.WINDOW_UPDATE, self._take_flags(stream), stream.id, credit)
        return bool(credit)

    def send_go_away(self, code: GoAwayCode) -> None:
        """Say that we end the session, and why. The driver hangs up once it is sent."""
        if not self._over:
            self.pending += encode_header(FrameType.GO_AWAY, 0, 0, code)
            self._end()

    def fail(self, error: ProtocolError) -> None:
        """The one exit: queue the go-away that the error asks for, tell the driver, discard everything later."""
        if self._over:
            return
        if isinstance(error, YamuxError) and error.go_away is not None:
            self.pending += encode_header(FrameType.GO_AWAY, 0, 0, error.go_away)
        self._end()
        self._events.append(SessionFailed(error))

    # --- what the peer says

    def receive_data(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes of the peer, cut anywhere. Never raises on what they are: a violation becomes SessionFailed."""
        self._keepalive.heard(now)
        try:
            self._parse(memoryview(data), now)
        except YamuxError as error:
            self.fail(error)

    def receive_more(self, now: float) -> None:
        """Take what was left over, as ``receive_data``; see ``frames_left``. The peer said it when it came."""
        rest, self._rest = self._rest, bytearray()
        try:
            self._parse(memoryview(rest), now)
        except YamuxError as error:
            self.fail(error)

    def _on_frame(self, fields: HeaderFields, now: float) -> None:
        version, kind, flags, stream_id, length = fields
        if version != VERSION:
            raise YamuxError("unknown version of yamux", go_away=None)
        if kind == _DATA:
            self._on_data(flags, stream_id, length)
        elif kind == _WINDOW_UPDATE:
            self._on_window_update(flags, stream_id, length)
        elif kind == FrameType.PING:
            self._on_ping(flags, stream_id, length, now)
        elif kind == FrameType.GO_AWAY:
            self._end()
            self._events.append(PeerWentAway(length))
        else:
            raise YamuxError("unknown type of frame", go_away=None)

    def _on_data(self, flags: int, stream_id: int, length: int) -> None:
        """The header of a Data frame. Its whole body is charged now, before a byte of it came."""
        stream = self._stream_of(flags, stream_id, _DATA, length) if flags else self._streams.get(stream_id)
        if stream is None:
            if length > self._limits.max_stream_window:
                raise YamuxError("a body larger than any window", go_away=GoAwayCode.PROTOCOL_ERROR)
        elif length:
            window = stream.receive_window
            if length > window.available:
                raise YamuxError("a body beyond the window", go_away=GoAwayCode.PROTOCOL_ERROR)
            if stream.receive_closed:
                raise YamuxError("data after the end of a stream", go_away=GoAwayCode.PROTOCOL_ERROR)
            window.available -= length
            window.buffered += length
        self._body_left = length
        self._body_stream = stream
        self._body_finishes = bool(flags & FIN)
        if not length and stream is not None and flags & FIN:
            self._on_finish(stream)

    def _on_body(self, piece: memoryview) -> None:
        """Some bytes of the Data body that is under way."""
        stream = self._body_stream
        if stream is None or stream.gone:
            return  # the application let go of it meanwhile
        stream.bytes_received += len(piece)
        self._events.append(StreamData(stream, piece))
        if not self._body_left and self._body_finishes:
            self._on_finish(stream)

    def _on_window_update(self, flags: int, stream_id: int, credit: int) -> None:
        stream = self._stream_of(flags, stream_id, _WINDOW_UPDATE, 0)
        if stream is None:
            return
        was_empty = not stream.send_window
        stream.send_window += credit
        if stream.send_window > MAX_U32:
            raise YamuxError("a window beyond 32 bits", go_away=GoAwayCode.PROTOCOL_ERROR)
        if was_empty and credit and not stream.send_closed:
            self._events.append(WindowOpened(stream))
        if flags & FIN:
            self._on_finish(stream)

    def _on_ping(self, flags: int, stream_id: int, nonce: int, now: float) -> None:
        if flags & ACK:
            self._events.append(RoundTrip(self._keepalive.pong(nonce, now)))
            return
        if stream_id and stream_id not in self._streams:
            return
        self._queued_pongs += 1
        if self._queued_pongs > self._limits.max_queued_pongs:
            raise YamuxError("pings faster than they can be answered", go_away=GoAwayCode.PROTOCOL_ERROR)
        self.pending += encode_header(FrameType.PING, ACK, 0, nonce)

    def _stream_of(self, flags: int, stream_id: int, kind: int, length: int) -> YamuxStream | None:
        """The stream a frame is about, after its SYN, ACK and RST took effect; None if nothing is left to do."""
        if flags & SYN:
            return self._on_syn(flags, stream_id, kind, length)
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        if flags & ACK and not stream.acknowledged:
            stream.acknowledged = True
            self._unacknowledged -= 1
        if flags & RST:
            if stream.first_flags and not self._client:  # we have not even said that we heard of it
                self._hasty_resets.add(self._keepalive.last_heard)
            self._forget(stream)
            self._events.append(StreamReset(stream))
            return None
        return stream

    def _on_syn(self, flags: int, stream_id: int, kind: int, length: int) -> YamuxStream | None:
        from_client = stream_id % 2 == 1
        if stream_id == 0 or from_client == self._client or stream_id in self._streams:
            raise YamuxError("a stream that the peer may not open", go_away=GoAwayCode.PROTOCOL_ERROR)
        if length > INITIAL_WINDOW_BYTES:
            raise YamuxError("a body beyond the window", go_away=GoAwayCode.PROTOCOL_ERROR)
        if self._client:
            self.pending += encode_header(FrameType.DATA, RST, stream_id, 0)
            return None
        if len(self._streams) >= self._limits.max_streams:
            internal = kind == _DATA  # two codes for one cause: so does the original
            code = GoAwayCode.INTERNAL_ERROR if internal else GoAwayCode.PROTOCOL_ERROR
            raise YamuxError("too many streams", go_away=code)
        if flags & RST:
            return None
        stream = YamuxStream(stream_id, self._new_window(), first_flags=ACK, acknowledged=True)
        self._streams[stream_id] = stream
        self._events.append(StreamOpened(stream))
        return stream

    def _on_finish(self, stream: YamuxStream) -> None:
        if stream.receive_closed:
            return
        stream.receive_closed = True
        if stream.send_closed:
            self._forget(stream)
        self._events.append(StreamFinished(stream))

    # --- helpers

    def _new_window(self) -> ReceiveWindow:
        return ReceiveWindow(self.budget, self._limits.max_stream_window)

    def _charge(self, stream: YamuxStream, size: int) -> int:
        """Take ``size`` bytes of the credit; the flags that go with them. Raises StreamStateError."""
        if stream.send_closed or stream.gone or not 0 < size <= stream.send_window:
            raise StreamStateError(f"stream {stream.id} cannot send {size} bytes")
        stream.send_window -= size
        stream.bytes_sent += size
        flags = stream.first_flags
        stream.first_flags = 0
        return flags

    def _take_flags(self, stream: YamuxStream) -> int:
        """SYN or ACK, if the stream still owes it, with the one frame that is being sent."""
        flags = stream.first_flags
        stream.first_flags = 0
        return flags

    def _forget(self, stream: YamuxStream) -> None:
        del self._streams[stream.id]
        stream.gone = True
        stream.receive_window.close()
        if not stream.acknowledged:
            stream.acknowledged = True
            self._unacknowledged -= 1

    def _end(self) -> None:
        self._over = True
        self._body_left = 0
        for stream in self._streams.values():
            stream.gone = True
        self._streams.clear()
