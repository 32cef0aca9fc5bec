"""``proto.yamux.parser``: the same frames and body bytes, however the stream is cut."""

import pytest

from hyperion.proto.yamux.frame import HEADER_BYTES, FrameType, encode_header
from hyperion.proto.yamux.parser import FrameParser, HeaderFields


class Recorder(FrameParser):
    """Writes down what it is told; a go-away ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[HeaderFields] = []
        self.bodies: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._parse(memoryview(data), 0.0)

    def feed_more(self) -> None:
        rest, self._rest = self._rest, bytearray()
        self._parse(memoryview(rest), 0.0)

    def _on_frame(self, fields: HeaderFields, now: float) -> None:
        self.frames.append(fields)
        self._over = fields[1] == FrameType.GO_AWAY
        self._body_left = fields[4] if fields[1] == FrameType.DATA else 0

    def _on_body(self, piece: memoryview) -> None:
        assert len(piece) > 0
        self.bodies.append(bytes(piece))


WIRE = (
    encode_header(FrameType.PING, 1, 0, 7)
    + encode_header(FrameType.DATA, 1, 1, 30)
    + bytes(range(30))
    + encode_header(FrameType.DATA, 4, 1, 0)
    + encode_header(FrameType.WINDOW_UPDATE, 0, 3, 9)
)
FRAMES = [(0, 2, 1, 0, 7), (0, 0, 1, 1, 30), (0, 0, 4, 1, 0), (0, 1, 0, 3, 9)]


@pytest.mark.parametrize("size", range(1, len(WIRE) + 1))
def test_any_cut(size: int) -> None:
    parser = Recorder()
    for at in range(0, len(WIRE), size):
        parser.feed(WIRE[at : at + size])
        parser.feed(b"")
    assert parser.frames == FRAMES
    assert b"".join(parser.bodies) == bytes(range(30))


@pytest.mark.parametrize("frames", range(1, len(FRAMES) + 1))
@pytest.mark.parametrize("size", range(1, len(WIRE) + 1))
def test_so_many_frames_at_once_and_the_rest_later(size: int, frames: int) -> None:
    """Whatever comes meanwhile has its turn behind it."""
    parser = Recorder()
    for at in range(0, len(WIRE), size):
        before = len(parser.frames)
        parser.frames_left = frames
        parser.feed(WIRE[at : at + size])
        assert len(parser.frames) - before <= frames
        if at % 2:
            parser.frames_left = frames
            parser.feed_more()
    while parser.has_more:
        parser.frames_left = frames
        parser.feed_more()
    assert parser.frames == FRAMES
    assert b"".join(parser.bodies) == bytes(range(30))


@pytest.mark.parametrize("size", range(1, len(WIRE) + 1))
def test_a_turn_is_one_however_its_bytes_are_cut(size: int) -> None:
    """A peer may put them into as many records as it likes."""
    parser = Recorder()
    parser.frames_left = 2
    for at in range(0, len(WIRE), size):
        parser.feed(WIRE[at : at + size])
    assert len(parser.frames) == 2
    while parser.has_more:
        parser.frames_left = 1
        parser.feed_more()
    assert parser.frames == FRAMES
    assert b"".join(parser.bodies) == bytes(range(30))


def test_nothing_is_left_over_of_what_is_over() -> None:
    parser = Recorder()
    parser.frames_left = 1
    parser.feed(encode_header(FrameType.PING, 1, 0, 7) + encode_header(FrameType.GO_AWAY, 0, 0, 0) + WIRE)
    assert parser.has_more
    parser.frames_left = 1
    parser.feed_more()
    parser.feed(WIRE)
    assert not parser.has_more
    assert len(parser.frames) == 2


def test_a_header_is_told_once_it_is_whole() -> None:
    parser = Recorder()
    parser.feed(WIRE[: HEADER_BYTES - 1])
    assert parser.frames == []
    parser.feed(WIRE[HEADER_BYTES - 1 : HEADER_BYTES])
    assert parser.frames == FRAMES[:1]


def test_a_body_is_passed_on_as_it_comes() -> None:
    parser = Recorder()
    parser.feed(encode_header(FrameType.DATA, 0, 1, 2**32 - 1) + b"a")
    parser.feed(b"bc")
    assert parser.bodies == [b"a", b"bc"]


def test_nothing_is_read_after_the_end() -> None:
    parser = Recorder()
    parser.feed(encode_header(FrameType.GO_AWAY, 0, 0, 0) + WIRE)
    parser.feed(WIRE)
    assert parser.frames == [(0, 3, 0, 0, 0)]
