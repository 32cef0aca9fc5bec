"""Section 6: bounds, and peers that push against them."""

import pytest

from hyperion.proto.errors import StreamLimitError
from hyperion.proto.yamux.limits import YamuxLimits
from tests.conformance.bench import (
    ACK,
    DATA,
    FIN,
    INTERNAL_ERROR,
    MAX_U32,
    PROTOCOL_ERROR,
    RST,
    SYN,
    Bench,
    Frame,
    data,
    ping,
    update,
)
from tests.conformance.case import Section
from tests.peer.mux import header

section = Section(6, "limits")
case = section.case

STREAMS = 512
UNACKNOWLEDGED = 256
#: What a session may hold for a peer that never reads, bytes.
PATIENCE = 64 * 1024


def _full() -> Bench:
    bench = Bench()
    for number in range(STREAMS):
        bench.accept(2 * number + 1)
    return bench


@case("512 streams of the peer at once")
def _() -> None:
    bench = _full()
    assert bench.session.stream_count == STREAMS
    bench.expect_alive()


@case("the 513th by Data: go-away 2")
def _() -> None:
    _full().feed(data(2 * STREAMS + 1, b"x", SYN)).expect_failed(INTERNAL_ERROR)


@case("the 513th by WindowUpdate: go-away 1")
def _() -> None:
    _full().feed(update(2 * STREAMS + 1, 1, SYN)).expect_failed(PROTOCOL_ERROR)


@case("a finished stream makes room")
def _() -> None:
    bench = _full()
    bench.session.send_finish(bench.session.streams[0])
    bench.feed(data(1, b"", FIN))
    bench.events()
    bench.accept(2 * STREAMS + 1)


@case("a reset stream makes room")
def _() -> None:
    bench = _full()
    bench.session.send_reset(bench.session.streams[7])
    bench.accept(2 * STREAMS + 1)
    bench.feed(data(1, b"", RST))
    bench.events()
    bench.accept(2 * STREAMS + 3)


@case("a half-closed stream makes no room")
def _() -> None:
    bench = _full()
    bench.feed(data(1, b"", FIN))
    bench.session.send_finish(bench.session.streams[1])
    bench.feed(data(2 * STREAMS + 1, b"x", SYN)).expect_failed(INTERNAL_ERROR)


@case("at most 256 own streams wait for their ACK; the session lives on")
def _() -> None:
    bench = Bench(client=True)
    for _ in range(UNACKNOWLEDGED):
        bench.opened(acknowledged=False)
    assert not bench.session.may_open
    with pytest.raises(StreamLimitError):
        bench.session.open_stream()
    bench.expect_alive()
    assert bench.session.stream_count == UNACKNOWLEDGED


@case("an ACK on Data, an ACK on WindowUpdate and an RST each make room for one more")
def _() -> None:
    for answer in (data(1, b"", ACK), update(1, 5, ACK), data(1, b"", RST)):
        bench = Bench(client=True)
        for _ in range(UNACKNOWLEDGED):
            bench.opened(acknowledged=False)
        bench.feed(answer, answer)
        bench.opened(acknowledged=False)
        assert not bench.session.may_open


@case("our own reset of an unacknowledged stream makes room for one more")
def _() -> None:
    bench = Bench(client=True)
    streams = [bench.opened(acknowledged=False) for _ in range(UNACKNOWLEDGED)]
    bench.session.send_reset(streams[3])
    assert bench.session.may_open


@case("we never open more than 512 at once; those that are open live on")
def _() -> None:
    bench = Bench(client=True)
    while bench.session.may_open:
        bench.opened()
    count = bench.session.stream_count
    assert 256 < count <= STREAMS
    with pytest.raises(StreamLimitError):
        bench.session.open_stream()
    assert bench.session.stream_count == count
    bench.session.send_data(bench.session.streams[0], b"still alive")
    bench.expect_alive()


@case("stream ids run out without a crash")
def _() -> None:
    bench = Bench(client=True)
    bench.session._next_id = MAX_U32 - 2
    assert [bench.opened().id for _ in range(2)] == [MAX_U32 - 2, MAX_U32]
    with pytest.raises(StreamLimitError):
        bench.session.open_stream()
    bench.expect_alive()


@case("100,000 streams opened and reset leave nothing behind")
def _() -> None:
    bench = Bench()
    for number in range(100_000):
        stream_id = 2 * number + 1
        bench.now += 0.001
        bench.feed(data(stream_id, b"\x00\x16", SYN) + data(stream_id, b"", RST))
        bench.events()
        bench.received.clear()
    assert (bench.session.stream_count, bench.sent()) == (0, [])
    bench.expect_alive()


@case("1,000 streams opened and reset in one piece keep only their events")
def _() -> None:
    wire = b"".join(data(2 * number + 1, b"", SYN) + data(2 * number + 1, b"", RST) for number in range(1_000))
    bench = Bench().feed(wire)
    assert bench.session.stream_count == 0
    assert len(bench.events()) == 2_000
    bench.expect_alive()


@case("the 1,001st stream of a second that is reset before it is answered: go-away 1")
def _() -> None:
    bench = Bench()
    for number in range(1_001):
        bench.expect_alive()
        bench.feed(data(2 * number + 1, b"\x00\x16", SYN) + data(2 * number + 1, b"", RST))
    bench.expect_failed(PROTOCOL_ERROR)


@case("a million pings never read are bounded, then the session ends")
def _() -> None:
    bench = Bench()
    burst = b"".join(ping(value) for value in range(1_000))
    for _ in range(1_000):
        bench.feed(burst)
    assert len(bench.session.data_to_send()) <= PATIENCE
    assert bench.names() == ["SessionFailed"]


@case("50,000 streams opened by a server to a client: one RST each, nothing else is kept")
def _() -> None:
    bench = Bench(client=True)
    bench.feed(*(data(2 * number, b"", SYN) for number in range(1, 50_001)))
    assert bench.sent() == [Frame(DATA, RST, 2 * number, 0) for number in range(1, 50_001)]
    assert (bench.names(), bench.session.stream_count) == ([], 0)
    bench.expect_alive()


@case("10,000 frames of one byte arrive in order")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.feed(b"".join(data(1, bytes([number % 251])) for number in range(10_000))).events()
    assert bytes(bench.received[1]) == bytes(number % 251 for number in range(10_000))


@case("100,000 empty frames leave nothing behind")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.feed(data(1) * 50_000, update(1, 0) * 50_000)
    assert (bench.names(), bench.sent()) == ([], [])
    bench.expect_alive()


@case("frames for unknown streams leave nothing behind")
def _() -> None:
    bench = Bench().feed(*(data(2 * number + 1, b"body") + update(number, 1) for number in range(20_000)))
    assert (bench.names(), bench.sent(), bench.session.stream_count) == ([], [], 0)
    bench.expect_alive()


@case("a lower limit of streams holds as well")
def _() -> None:
    bench = Bench(limits=YamuxLimits(max_streams=2))
    bench.accept(1)
    bench.accept(3)
    bench.feed(data(5, b"", SYN)).expect_failed(INTERNAL_ERROR)


@case("the header of a huge body for an unknown stream holds no memory and ends the session")
def _() -> None:
    Bench().feed(header(DATA, 0, 9, MAX_U32)).expect_failed(PROTOCOL_ERROR)
