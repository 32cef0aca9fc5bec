"""Section 3, second part: windows that grow, and the budget they grow from."""

import pytest

from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.stream import YamuxStream
from tests.conformance.bench import ACK, DATA, FIN, PROTOCOL_ERROR, RST, WINDOW, Bench, data, ping
from tests.conformance.flow import MIB, credit_of, pass_through, section
from tests.peer.mux import header

case = section.case

ROUND_TRIP = 0.5


def _grown(bench: Bench, stream: YamuxStream, wanted: int) -> int:
    """A fast reader on a long link until the window is ``wanted``; gives what the peer may send then."""
    window = WINDOW
    for _ in range(64):
        window += pass_through(bench, stream, window) - window
        if window >= wanted:
            break
    return window


@case("without a known round trip the window does not grow")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    assert [pass_through(bench, stream, WINDOW) for _ in range(5)] == [WINDOW] * 5


@case("a window used up within a round trip doubles")
def _() -> None:
    bench = Bench()
    bench.measure(ROUND_TRIP)
    stream = bench.accept()
    assert [pass_through(bench, stream, WINDOW) for _ in range(2)] == [WINDOW, 2 * WINDOW]


@case("a slow stream's window does not grow")
def _() -> None:
    bench = Bench()
    bench.measure(0.01)
    stream = bench.accept()
    for _ in range(5):
        bench.now += 5
        assert pass_through(bench, stream, WINDOW) == WINDOW


@case("a window grows to its maximum and no further")
def _() -> None:
    bench = Bench(limits=YamuxLimits(max_stream_window=MIB))
    bench.measure(ROUND_TRIP)
    stream = bench.accept()
    assert _grown(bench, stream, MIB) == MIB
    assert [pass_through(bench, stream, MIB) for _ in range(5)] == [MIB] * 5


@case("a body larger than 1 MiB within the credit granted is taken, in parts")
def _() -> None:
    bench = Bench()
    bench.measure(ROUND_TRIP)
    stream = bench.accept()
    window = _grown(bench, stream, 4 * MIB)
    before = len(bench.received[1])
    frame = data(1, bytes(window))
    bench.feed(*(frame[at : at + 65_519] for at in range(0, len(frame), 65_519)))
    assert bench.names() == ["StreamData"] * -(-len(frame) // 65_519)
    assert len(bench.received[1]) - before == window > MIB
    bench.expect_alive()


@case("a body larger than the grown window: go-away 1")
def _() -> None:
    bench = Bench()
    bench.measure(ROUND_TRIP)
    window = _grown(bench, bench.accept(), 4 * MIB)
    bench.feed(header(DATA, 0, 1, window + 1)).expect_failed(PROTOCOL_ERROR)


@case("all streams together grow within the connection's budget")
def _() -> None:
    bench = Bench(limits=YamuxLimits(window_budget=MIB))
    bench.measure(ROUND_TRIP)
    windows = [_grown(bench, bench.accept(stream_id), 16 * MIB) for stream_id in (1, 3, 5)]
    assert sum(windows) - 3 * WINDOW == MIB


def _budget_is_back(bench: Bench, stream_id: int) -> None:
    """A new stream can take the whole budget of MIB."""
    assert _grown(bench, bench.accept(stream_id), WINDOW + MIB) == WINDOW + MIB


@case("a stream that ends gives its part of the budget back")
def _() -> None:
    for ending in ("finish", "reset", "peer resets"):
        bench = Bench(limits=YamuxLimits(window_budget=MIB))
        bench.measure(ROUND_TRIP)
        stream = bench.accept()
        assert _grown(bench, stream, WINDOW + MIB) == WINDOW + MIB
        if ending == "finish":
            bench.feed(data(1, b"", FIN))
            bench.session.send_finish(stream)
        elif ending == "reset":
            bench.session.send_reset(stream)
        else:
            bench.feed(data(1, b"", RST))
        bench.sent()
        _budget_is_back(bench, 3)


@case("what is consumed after a stream's end takes nothing from the budget")
def _() -> None:
    bench = Bench(limits=YamuxLimits(window_budget=MIB))
    bench.measure(ROUND_TRIP)
    stream = bench.accept()
    pass_through(bench, stream, WINDOW)
    bench.feed(data(1, bytes(WINDOW)), data(1, b"", RST))
    bench.events()
    bench.session.consumed(stream, WINDOW, bench.now)
    _budget_is_back(bench, 3)


@case("a reader slower than the sender never holds more than its window")
def _() -> None:
    bench = Bench()
    bench.measure(ROUND_TRIP)
    stream, held, available, most = bench.accept(), 0, WINDOW, 0
    for _ in range(200):
        bench.feed(data(1, bytes(available)))
        held, available = held + available, 0
        most = max(most, held)
        bench.now += 1
        bench.session.consumed(stream, 10_000, bench.now)
        held, available = held - 10_000, credit_of(bench)
    assert most == WINDOW


@case("our pings measure again: the window follows the new round trip")
def _() -> None:
    bench = Bench()
    bench.measure(0.001)
    due = bench.session.next_timeout()
    assert due is not None
    bench.session.handle_timeout(due)
    (again,) = bench.sent()
    bench.now = due + ROUND_TRIP
    bench.feed(ping(again.length, ACK))
    assert bench.session.round_trip == pytest.approx(ROUND_TRIP)
