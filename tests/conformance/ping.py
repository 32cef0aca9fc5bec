"""Section 4: pings and pongs."""

from hyperion.proto.yamux.events import RoundTrip, SessionFailed
from tests.conformance.bench import ACK, DATA, PING, PROTOCOL_ERROR, SYN, Bench, Frame, data, ping
from tests.conformance.case import Section

section = Section(4, "ping")
case = section.case


@case("the first frame of both sides is a ping on stream 0")
def _() -> None:
    for client in (False, True):
        (first,) = Bench(client=client).first
        assert (first.kind, first.flags, first.stream_id) == (PING, SYN, 0)


@case("a ping is answered once, with its value")
def _() -> None:
    assert Bench().feed(ping(0xDEADBEEF)).sent() == [Frame(PING, ACK, 0, 0xDEADBEEF)]


@case("a ping without SYN is answered, too")
def _() -> None:
    assert Bench().feed(ping(5, 0)).sent() == [Frame(PING, ACK, 0, 5)]


@case("values 0 and 2^32-1 are echoed")
def _() -> None:
    bench = Bench().feed(ping(0), ping(2**32 - 1))
    assert [frame.length for frame in bench.sent()] == [0, 2**32 - 1]


@case("a ping on an open stream is answered on stream 0")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(ping(5, SYN, 1)).sent() == [Frame(PING, ACK, 0, 5)]


@case("a ping on an unknown stream is ignored")
def _() -> None:
    bench = Bench().feed(ping(5, SYN, 77))
    assert (bench.sent(), bench.names()) == ([], [])


@case("nothing is answered that was not asked")
def _() -> None:
    bench = Bench()
    bench.accept(1, b"data")
    assert bench.sent() == []


@case("a pong gives the round trip")
def _() -> None:
    bench = Bench()
    bench.now += 0.25
    (event,) = bench.feed(ping(bench.first[0].length, ACK)).events()
    assert isinstance(event, RoundTrip)
    assert event.seconds == 0.25
    assert bench.session.round_trip == 0.25


@case("a pong is not answered")
def _() -> None:
    bench = Bench()
    assert bench.feed(ping(bench.first[0].length, ACK)).sent() == []


@case("a pong with a wrong value: go-away 1")
def _() -> None:
    bench = Bench()
    bench.feed(ping(bench.first[0].length ^ 1, ACK)).expect_failed(PROTOCOL_ERROR)


@case("the same pong twice: go-away 1")
def _() -> None:
    bench = Bench()
    pong = ping(bench.first[0].length, ACK)
    bench.feed(pong, pong).expect_failed(PROTOCOL_ERROR)


@case("a pong nobody asked for: go-away 1, both with and without SYN")
def _() -> None:
    for flags in (ACK, ACK | SYN):
        bench = Bench()
        bench.measure(0.1)
        bench.feed(ping(0, flags)).expect_failed(PROTOCOL_ERROR)


@case("a ping is due again within 10 seconds, not before its time")
def _() -> None:
    bench = Bench()
    due = bench.session.next_timeout()
    assert due is not None
    assert bench.now < due <= bench.now + 10
    bench.measure(0.1)
    bench.session.handle_timeout(due - 0.001)
    assert bench.sent() == []
    bench.session.handle_timeout(due)
    (again,) = bench.sent()
    assert (again.kind, again.flags) == (PING, SYN)
    assert again.length != bench.first[0].length


@case("a silent peer ends the session within 30 seconds")
def _() -> None:
    bench = Bench()
    end = bench.now + 30
    while (due := bench.session.next_timeout()) is not None:
        assert due <= end
        bench.session.handle_timeout(due)
    (failed,) = bench.events()
    assert isinstance(failed, SessionFailed)


@case("a peer that sends data but has not answered yet lives on for a while")
def _() -> None:
    bench = Bench()
    bench.accept()
    for _ in range(3):
        due = bench.session.next_timeout()
        assert due is not None
        bench.now = due
        bench.feed(data(1, b"x"))
        bench.session.handle_timeout(bench.now)
    assert "SessionFailed" not in bench.names()


@case("late pongs are taken in the order of their pings")
def _() -> None:
    bench = Bench()
    due = bench.session.next_timeout()
    assert due is not None
    bench.session.handle_timeout(due)
    second = bench.sent()[0].length
    bench.now = due + 1
    assert bench.feed(ping(bench.first[0].length, ACK), ping(second, ACK)).names() == ["RoundTrip", "RoundTrip"]


@case("1,000 pings to a reading peer are all answered")
def _() -> None:
    bench = Bench()
    for value in range(1_000):
        assert bench.feed(ping(value)).sent() == [Frame(PING, ACK, 0, value)]


@case("pongs keep their place among other frames")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, b"a")
    bench.feed(ping(1))
    bench.session.send_data(stream, b"b")
    assert [frame.kind for frame in bench.sent()] == [DATA, PING, DATA]
