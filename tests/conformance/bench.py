"""A yamux session on a bench: bytes in, bytes and events out.

Frames are built and taken apart here with code of our own (``tests.peer.mux``), never with Hyperion's codec.
"""

from typing import NamedTuple

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.events import SessionFailed, StreamData, StreamOpened, YamuxEvent
from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.session import YamuxSession
from hyperion.proto.yamux.stream import YamuxStream
from tests.peer.mux import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE, header

__all__ = ["ACK", "DATA", "FIN", "GO_AWAY", "PING", "RST", "SYN", "WINDOW_UPDATE", "Bench", "Frame"]

WINDOW = 262_144
MAX_U32 = 2**32 - 1
PROTOCOL_ERROR, INTERNAL_ERROR = 1, 2


class Frame(NamedTuple):
    """A frame the session sent."""

    kind: int
    flags: int
    stream_id: int
    length: int
    body: bytes = b""


def data(stream_id: int, body: bytes = b"", flags: int = 0) -> bytes:
    return header(DATA, flags, stream_id, len(body)) + body


def update(stream_id: int, credit: int, flags: int = 0) -> bytes:
    return header(WINDOW_UPDATE, flags, stream_id, credit)


def ping(value: int, flags: int = SYN, stream_id: int = 0) -> bytes:
    return header(PING, flags, stream_id, value)


def go_away(code: int) -> bytes:
    return header(GO_AWAY, 0, 0, code)


def parse(wire: bytes) -> list[Frame]:
    """Frames in ``wire``, which must end with the last of them."""
    frames, at = [], 0
    while at < len(wire):
        version, kind, flags, stream_id, length = HEADER.unpack_from(wire, at)
        assert version == 0
        at += HEADER.size
        body = wire[at : at + length] if kind == DATA else b""
        assert kind != DATA or len(body) == length
        at += len(body)
        frames.append(Frame(kind, flags, stream_id, length, body))
    return frames


class Bench:
    """One session and its clock. The first ping is already taken off."""

    def __init__(self, *, client: bool = False, limits: YamuxLimits | None = None) -> None:
        self.session = YamuxSession(client=client, limits=limits or YamuxLimits())
        self.now = 100.0
        self.session.handle_timeout(self.now)
        self.first = self.sent()
        #: bytes of each stream that came out as StreamData, by id
        self.received: dict[int, bytearray] = {}

    def feed(self, *pieces: bytes) -> "Bench":
        """Bytes of the peer."""
        for piece in pieces:
            self.session.receive_data(piece, self.now)
        return self

    def events(self) -> list[YamuxEvent]:
        """All events since the last call; data is also collected in ``received``."""
        events = []
        while (event := self.session.next_event()) is not None:
            if isinstance(event, StreamData):
                self.received.setdefault(event.stream.id, bytearray()).extend(event.data)
            events.append(event)
        return events

    def names(self) -> list[str]:
        """Names of the events since the last call."""
        return [type(event).__name__ for event in self.events()]

    def sent(self) -> list[Frame]:
        """Frames the session wants to send now."""
        return parse(bytes(self.session.data_to_send()))

    def accept(self, stream_id: int = 1, body: bytes = b"", flags: int = SYN) -> YamuxStream:
        """The peer opens a stream."""
        self.feed(data(stream_id, body, flags))
        opened = [event.stream for event in self.events() if isinstance(event, StreamOpened)]
        assert [stream.id for stream in opened] == [stream_id]
        return opened[0]

    def opened(self, *, acknowledged: bool = True) -> YamuxStream:
        """We open a stream, send one byte, and the peer acknowledges."""
        stream = self.session.open_stream()
        self.session.send_data(stream, b"x")
        self.sent()
        if acknowledged:
            self.feed(update(stream.id, 0, ACK))
        return stream

    def measure(self, seconds: float) -> None:
        """Let the first ping have taken so long."""
        self.now += seconds
        self.feed(ping(self.first[0].length, ACK))
        assert self.names() == ["RoundTrip"]

    def expect_alive(self) -> None:
        """The session still works: it answers a ping."""
        self.feed(ping(4_711))
        assert Frame(PING, ACK, 0, 4_711) in self.sent()

    def expect_failed(self, code: int | None) -> None:
        """The session ended by a violation: one go-away with ``code`` (None: no go-away), one event, then nothing."""
        expected = [] if code is None else [Frame(GO_AWAY, 0, 0, code)]
        assert [frame for frame in self.sent() if frame.kind == GO_AWAY] == expected
        last = self.events()[-1]
        assert isinstance(last, SessionFailed)
        assert isinstance(last.error, YamuxError)
        self.expect_over()

    def expect_over(self) -> None:
        """Whatever comes now has no effect."""
        self.feed(ping(1), data(1_001, b"more", SYN), data(1_002, b"more", SYN), update(1, 5), b"\xff" * 40)
        assert self.sent() == []
        assert self.events() == []
        assert self.session.stream_count == 0
        assert self.session.next_timeout() is None
        assert not self.session.may_open
