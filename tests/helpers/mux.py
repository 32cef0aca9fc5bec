"""One yamux session and its driver: frames in, events and headers out."""

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.events import (
    SessionFailed,
    StreamOpened,
    YamuxEvent,
)
from hyperion.proto.yamux.frame import (
    HEADER,
    HEADER_BYTES,
    SYN,
    FrameType,
    encode_header,
)
from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.session import YamuxSession
from hyperion.proto.yamux.stream import YamuxStream

NOW = 50.0
DATA, UPDATE, PING, GO_AWAY = (int(kind) for kind in FrameType)


def frame(kind: int, flags: int = 0, stream_id: int = 1, length: int = 0, body: bytes = b"") -> bytes:
    return encode_header(kind, flags, stream_id, length or len(body)) + body


def new(*, client: bool = False, **limits: int) -> YamuxSession:
    return YamuxSession(client=client, limits=YamuxLimits(**limits))


def events(session: YamuxSession) -> list[YamuxEvent]:
    found = []
    while (event := session.next_event()) is not None:
        found.append(event)
    return found


def feed(session: YamuxSession, *frames: bytes) -> list[YamuxEvent]:
    for piece in frames:
        session.receive_data(piece, NOW)
    return events(session)


def sent(session: YamuxSession) -> list[tuple[int, int, int, int]]:
    """Headers of what is queued; bodies are skipped."""
    wire, found = session.data_to_send(), []
    while wire:
        _, kind, flags, stream_id, length = HEADER.unpack_from(wire)
        del wire[: HEADER_BYTES + (length if kind == DATA else 0)]
        found.append((kind, flags, stream_id, length))
    return found


def accepted(session: YamuxSession, stream_id: int = 1) -> YamuxStream:
    (event,) = feed(session, frame(DATA, SYN, stream_id))
    assert isinstance(event, StreamOpened)
    return event.stream


def expect_failed(session: YamuxSession, code: int | None) -> None:
    last = events(session)[-1]
    assert isinstance(last, SessionFailed)
    assert isinstance(last.error, YamuxError)
    assert last.error.go_away == code
    assert sent(session) == ([] if code is None else [(GO_AWAY, 0, 0, code)])
