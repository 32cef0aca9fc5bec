"""What a yamux session tells whoever drives it."""

import msgspec

from hyperion.proto.errors import ProtocolError
from hyperion.proto.yamux.stream import YamuxStream


class StreamOpened(msgspec.Struct, frozen=True):
    """The peer opened a stream."""

    stream: YamuxStream


class StreamData(msgspec.Struct, frozen=True):
    """Bytes of a stream, in order. They count as unread until ``YamuxSession.consumed``."""

    stream: YamuxStream
    data: memoryview


class StreamFinished(msgspec.Struct, frozen=True):
    """The peer will send no more on this stream (half-close); we still may."""

    stream: YamuxStream


class StreamReset(msgspec.Struct, frozen=True):
    """The peer aborted the stream. What came before is still valid."""

    stream: YamuxStream


class WindowOpened(msgspec.Struct, frozen=True):
    """A stream that had no credit left may send again."""

    stream: YamuxStream


class RoundTrip(msgspec.Struct, frozen=True):
    """A ping came back after so many seconds."""

    seconds: float


class PeerWentAway(msgspec.Struct, frozen=True):
    """The peer ended the session; ``code`` is what it said (see ``GoAwayCode``), any number."""

    code: int


class SessionFailed(msgspec.Struct, frozen=True):
    """The session is over by ``error``. No event follows; a go-away may be left in ``data_to_send``."""

    error: ProtocolError


YamuxEvent = (
    StreamOpened | StreamData | StreamFinished | StreamReset | WindowOpened | RoundTrip | PeerWentAway | SessionFailed
)
