"""Section 3, first part: windows and credit, both directions."""

import random

import pytest

from hyperion.proto.errors import StreamStateError
from hyperion.proto.yamux.stream import YamuxStream
from tests.conformance.bench import (
    DATA,
    FIN,
    MAX_U32,
    PROTOCOL_ERROR,
    RST,
    SYN,
    WINDOW,
    WINDOW_UPDATE,
    Bench,
    Frame,
    data,
    update,
)
from tests.conformance.case import Section
from tests.peer.mux import header

section = Section(3, "flow control")
case = section.case

MIB = 1 << 20


def credit_of(bench: Bench) -> int:
    return sum(frame.length for frame in bench.sent() if frame.kind == WINDOW_UPDATE)


def pass_through(bench: Bench, stream: YamuxStream, size: int) -> int:
    """The peer sends ``size`` bytes and the application takes them at once; gives the credit granted for it."""
    bench.feed(data(stream.id, bytes(size)))
    bench.events()
    bench.session.consumed(stream, size, bench.now)
    return credit_of(bench)


@case("we may send 262,144 bytes at first")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, bytes(WINDOW))
    assert stream.send_window == 0
    assert bench.sent()[0].length == WINDOW


@case("one byte more than the window is refused locally, and nothing is sent")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    with pytest.raises(StreamStateError):
        bench.session.send_data(stream, bytes(WINDOW + 1))
    assert (bench.sent(), stream.send_window) == ([], WINDOW)


@case("with an empty window only FIN and RST can be sent")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, bytes(WINDOW))
    with pytest.raises(StreamStateError):
        bench.session.send_data(stream, b"x")
    bench.session.send_finish(stream)
    assert bench.sent()[-1] == Frame(DATA, FIN, 1, 0)


@case("a WindowUpdate adds to the window")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.feed(update(1, 100), update(1, 23))
    assert stream.send_window == WINDOW + 123


@case("credit that comes with SYN is on top of 262,144")
def _() -> None:
    bench = Bench().feed(update(1, 1_000, SYN))
    assert bench.session.streams[0].send_window == WINDOW + 1_000


@case("a full window that opens is told once")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, bytes(WINDOW))
    assert bench.feed(update(1, 1), update(1, 1)).names() == ["WindowOpened"]


@case("a window that was open tells nothing")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(update(1, 100)).names() == []


@case("credit 0 tells nothing")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, bytes(WINDOW))
    assert bench.feed(update(1, 0)).names() == []


@case("credit for a stream we finished tells nothing")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, bytes(WINDOW))
    bench.session.send_finish(stream)
    assert bench.feed(update(1, 100)).names() == []


@case("a window of 2^32-1 is fine")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.feed(update(1, MAX_U32 - WINDOW))
    assert stream.send_window == MAX_U32
    bench.expect_alive()


@case("a window of 2^32: go-away 1")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.feed(update(1, MAX_U32 - WINDOW + 1)).expect_failed(PROTOCOL_ERROR)


@case("a window that overflows in two steps: go-away 1")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.feed(update(1, 2**31), update(1, 2**31)).expect_failed(PROTOCOL_ERROR)


@case("SYN with credit 2^32-1-262,144 is fine")
def _() -> None:
    Bench().feed(update(1, MAX_U32 - WINDOW, SYN)).expect_alive()


@case("SYN with one more: go-away 1")
def _() -> None:
    Bench().feed(update(1, MAX_U32 - WINDOW + 1, SYN)).expect_failed(PROTOCOL_ERROR)
    Bench().feed(update(1, MAX_U32, SYN)).expect_failed(PROTOCOL_ERROR)


@case("the peer may send 262,144 bytes at first, in one frame or in many")
def _() -> None:
    for size in (WINDOW, 16_384, 4_096):
        bench = Bench()
        bench.accept()
        bench.feed(*(data(1, bytes(size)) for _ in range(WINDOW // size))).events()
        assert len(bench.received[1]) == WINDOW
        bench.expect_alive()


@case("byte 262,145: go-away 1")
def _() -> None:
    bench = Bench()
    bench.accept(1, bytes(WINDOW))
    bench.feed(data(1, b"x")).expect_failed(PROTOCOL_ERROR)


@case("SYN bodies of 262,143 and 262,144 bytes are fine")
def _() -> None:
    for size in (WINDOW - 1, WINDOW):
        bench = Bench()
        bench.accept(1, bytes(size))
        assert len(bench.received[1]) == size
        bench.expect_alive()


@case("SYN bodies beyond the window: go-away 1 at the header")
def _() -> None:
    for size in (WINDOW + 1, MIB, MIB + 1, MAX_U32):
        bench = Bench().feed(header(DATA, SYN, 1, size))
        bench.expect_failed(PROTOCOL_ERROR)


@case("a body beyond the window: go-away 1 at the header")
def _() -> None:
    for size in (WINDOW + 1, MAX_U32):
        bench = Bench()
        bench.accept()
        bench.feed(header(DATA, 0, 1, size)).expect_failed(PROTOCOL_ERROR)


@case("frames without body cost no window")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.feed(*(data(1) for _ in range(1_000)), update(1, 1), data(1, bytes(WINDOW)))
    bench.expect_alive()


@case("what is not consumed gets no credit")
def _() -> None:
    bench = Bench()
    bench.accept(1, bytes(WINDOW))
    assert bench.sent() == []


@case("all consumed: all credit comes back")
def _() -> None:
    bench = Bench()
    assert pass_through(bench, bench.accept(), WINDOW) == WINDOW


@case("credit comes at the latest when half the window is consumed")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, bytes(WINDOW))
    bench.session.consumed(stream, WINDOW // 2, bench.now)
    assert credit_of(bench) == WINDOW // 2


@case("a few consumed bytes alone are not worth an update")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, bytes(WINDOW))
    bench.session.consumed(stream, 1_000, bench.now)
    assert bench.sent() == []


@case("what is consumed before it is due is granted later")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, bytes(WINDOW))
    for _ in range(WINDOW // 1_024):
        bench.session.consumed(stream, 1_024, bench.now)
    granted = credit_of(bench)
    assert WINDOW // 2 <= granted <= WINDOW


@case("exactly the credit granted can be used, and not a byte more")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, bytes(WINDOW))
    bench.session.consumed(stream, WINDOW // 2, bench.now)
    credit = credit_of(bench)
    bench.feed(data(1, bytes(credit))).expect_alive()
    bench.feed(data(1, b"x")).expect_failed(PROTOCOL_ERROR)


@case("a random exchange keeps the books: buffered and granted never exceed the window")
def _() -> None:
    randomness = random.Random(3)
    bench = Bench()
    stream, available, buffered = bench.accept(), WINDOW, 0
    for _ in range(3_000):
        if available and randomness.random() < 0.5:
            size = randomness.randint(1, min(available, 20_000))
            bench.feed(data(1, bytes(size)))
            available, buffered = available - size, buffered + size
        elif buffered:
            size = randomness.randint(1, buffered)
            bench.session.consumed(stream, size, bench.now)
            buffered -= size
            available += credit_of(bench)
        assert available + buffered <= WINDOW
    bench.expect_alive()


@case("an exhausted stream stops no other")
def _() -> None:
    bench = Bench()
    bench.accept(1, bytes(WINDOW))
    other = bench.accept(3)
    for _ in range(10):
        assert pass_through(bench, other, WINDOW) == WINDOW


@case("credit is for its own stream only")
def _() -> None:
    bench = Bench()
    first, second = bench.accept(1), bench.accept(3)
    bench.feed(update(1, 50))
    assert (first.send_window, second.send_window) == (WINDOW + 50, WINDOW)


@case("bodies for unknown streams cost nothing and are skipped")
def _() -> None:
    bench = Bench()
    bench.feed(*(data(9, bytes(WINDOW)) for _ in range(5)))
    assert bench.names() == []
    bench.expect_alive()


@case("no credit after the peer's FIN")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, bytes(WINDOW), SYN | FIN)
    bench.session.consumed(stream, WINDOW, bench.now)
    assert bench.sent() == []


@case("no credit after a reset, ours or the peer's")
def _() -> None:
    for ours in (True, False):
        bench = Bench()
        stream = bench.accept(1, bytes(WINDOW))
        if ours:
            bench.session.send_reset(stream)
        else:
            bench.feed(data(1, b"", RST))
        bench.sent()
        bench.session.consumed(stream, WINDOW, bench.now)
        assert bench.sent() == []
