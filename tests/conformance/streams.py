"""Section 2: opening, half-close, reset."""

import pytest

from hyperion.proto.errors import StreamLimitError, StreamStateError
from tests.conformance.bench import (
    ACK,
    DATA,
    FIN,
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

section = Section(2, "open and close")
case = section.case


@case("a client's streams are 1, 3, 5")
def _() -> None:
    bench = Bench(client=True)
    assert [bench.session.open_stream().id for _ in range(3)] == [1, 3, 5]


@case("opening sends nothing by itself")
def _() -> None:
    bench = Bench(client=True)
    bench.session.open_stream()
    assert bench.sent() == []


@case("SYN is on the first frame and on no other")
def _() -> None:
    bench = Bench(client=True)
    stream = bench.session.open_stream()
    bench.session.send_data(stream, b"a")
    bench.session.send_data(stream, b"b")
    bench.session.send_finish(stream)
    assert [frame.flags for frame in bench.sent()] == [SYN, 0, FIN]


@case("SYN may ride on FIN")
def _() -> None:
    bench = Bench(client=True)
    bench.session.send_finish(bench.session.open_stream())
    assert bench.sent() == [Frame(DATA, SYN | FIN, 1, 0)]


@case("a stream reset before its first frame is never heard of")
def _() -> None:
    bench = Bench(client=True)
    bench.session.send_reset(bench.session.open_stream())
    assert bench.sent() == []
    assert bench.session.stream_count == 0


@case("a server opens no stream")
def _() -> None:
    with pytest.raises(StreamLimitError):
        Bench().session.open_stream()


@case("Data with SYN opens a stream and brings its body")
def _() -> None:
    bench = Bench().feed(data(1, b"hi", SYN))
    assert bench.names() == ["StreamOpened", "StreamData"]
    assert bytes(bench.received[1]) == b"hi"


@case("WindowUpdate with SYN opens a stream")
def _() -> None:
    bench = Bench().feed(update(1, 0, SYN))
    assert bench.names() == ["StreamOpened"]


@case("ids need not come in order")
def _() -> None:
    bench = Bench()
    for stream_id in (7, 1, 2**32 - 1):
        bench.accept(stream_id)
    assert bench.session.stream_count == 3


@case("the acceptor's first Data frame carries ACK, the second none")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_data(stream, b"a")
    bench.session.send_data(stream, b"b")
    assert [frame.flags for frame in bench.sent()] == [ACK, 0]


@case("ACK may ride on FIN")
def _() -> None:
    bench = Bench()
    bench.session.send_finish(bench.accept())
    assert bench.sent() == [Frame(DATA, ACK | FIN, 1, 0)]


@case("ACK may ride on WindowUpdate")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, bytes(WINDOW))
    bench.session.consumed(stream, WINDOW, bench.now)
    bench.session.send_data(stream, b"x")
    assert [(frame.kind, frame.flags) for frame in bench.sent()] == [(WINDOW_UPDATE, ACK), (DATA, 0)]


@case("the RST of an unused stream carries no ACK")
def _() -> None:
    bench = Bench()
    bench.session.send_reset(bench.accept())
    assert bench.sent() == [Frame(DATA, RST, 1, 0)]


@case("Data with SYN and FIN: body, then end")
def _() -> None:
    bench = Bench().feed(data(1, b"all", SYN | FIN))
    assert bench.names() == ["StreamOpened", "StreamData", "StreamFinished"]


@case("FIN on an empty Data frame")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(data(1, b"", FIN)).names() == ["StreamFinished"]


@case("FIN on a Data frame with a body: the body counts, in pieces too")
def _() -> None:
    bench = Bench()
    bench.accept()
    frame = data(1, b"last", FIN)
    assert bench.feed(frame[:14], frame[14:]).names() == ["StreamData", "StreamData", "StreamFinished"]
    assert bytes(bench.received[1]) == b"last"


@case("FIN on a WindowUpdate")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    assert bench.feed(update(1, 3, FIN)).names() == ["StreamFinished"]
    assert stream.send_window == WINDOW + 3


@case("after our FIN data still arrives")
def _() -> None:
    bench = Bench()
    bench.session.send_finish(bench.accept())
    assert bench.feed(data(1, b"late")).names() == ["StreamData"]


@case("after our FIN we cannot send")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_finish(stream)
    with pytest.raises(StreamStateError):
        bench.session.send_data(stream, b"x")


@case("after the peer's FIN we still send, and credit still comes")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, b"", SYN | FIN)
    bench.session.send_data(stream, bytes(WINDOW))
    assert bench.feed(update(1, 10)).names() == ["WindowOpened"]
    bench.session.send_data(stream, bytes(10))
    assert [frame.length for frame in bench.sent()] == [WINDOW, 10]


@case("our FIN, then the peer's: the stream is gone")
def _() -> None:
    bench = Bench()
    bench.session.send_finish(bench.accept())
    assert bench.feed(data(1, b"", FIN)).names() == ["StreamFinished"]
    assert bench.session.stream_count == 0


@case("the peer's FIN, then ours: the stream is gone")
def _() -> None:
    bench = Bench()
    bench.session.send_finish(bench.accept(1, b"", SYN | FIN))
    assert bench.session.stream_count == 0


@case("frames for a finished stream are ignored")
def _() -> None:
    bench = Bench()
    bench.session.send_finish(bench.accept(1, b"", SYN | FIN))
    bench.sent()
    bench.feed(update(1, 9), data(1, b"late"), data(1, b"", FIN), data(1, b"", RST))
    assert (bench.names(), bench.sent()) == ([], [])
    bench.expect_alive()


@case("a second FIN of the peer tells nothing new")
def _() -> None:
    bench = Bench()
    bench.accept(1, b"", SYN | FIN)
    assert bench.feed(data(1, b"", FIN), update(1, 0, FIN)).names() == []


@case("finishing twice sends one FIN")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.session.send_finish(stream)
    bench.session.send_finish(stream)
    assert len(bench.sent()) == 1


@case("data after the peer's FIN is a violation")
def _() -> None:
    bench = Bench()
    bench.accept(1, b"", SYN | FIN)
    bench.feed(data(1, b"x")).expect_failed(PROTOCOL_ERROR)


@case("RST on Data resets")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(data(1, b"", RST)).names() == ["StreamReset"]
    assert bench.session.stream_count == 0


@case("RST on WindowUpdate resets")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(update(1, 77, RST)).names() == ["StreamReset"]


@case("data before an RST in the same piece is delivered first")
def _() -> None:
    bench = Bench(client=True)
    bench.opened(acknowledged=False)
    assert bench.feed(data(1, b"\x01", ACK) + data(1, b"", RST)).names() == ["StreamData", "StreamReset"]
    assert bytes(bench.received[1]) == b"\x01"


@case("the body of an RST frame is skipped")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(data(1, b"gone", RST) + data(3, b"next", SYN)).names() == [
        "StreamReset",
        "StreamOpened",
        "StreamData",
    ]
    assert bytes(bench.received[3]) == b"next"


@case("an RST is not answered, and later frames are ignored")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.feed(data(1, b"", RST), data(1, b"late"), update(1, 1), data(1, b"", FIN))
    assert (bench.names(), bench.sent()) == (["StreamReset"], [])
    bench.session.send_reset(stream)
    bench.session.send_finish(stream)
    assert bench.sent() == []


@case("writing to a reset stream is refused")
def _() -> None:
    bench = Bench()
    stream = bench.accept()
    bench.feed(data(1, b"", RST))
    with pytest.raises(StreamStateError):
        bench.session.send_data(stream, b"x")


@case("SYN and RST at once leave nothing behind")
def _() -> None:
    bench = Bench().feed(data(1, b"", SYN | RST))
    bench.events()
    assert (bench.sent(), bench.session.stream_count) == ([], 0)
    bench.expect_alive()


@case("resetting in mid-body swallows the rest of the body")
def _() -> None:
    bench = Bench()
    frame = data(1, bytes(100), SYN)
    bench.feed(frame[:50])
    stream = bench.session.streams[0]
    bench.events()
    bench.session.send_reset(stream)
    assert bench.feed(frame[50:], data(3, b"ok", SYN)).names() == ["StreamOpened", "StreamData"]
    assert set(bench.received) == {1, 3}
    assert bytes(bench.received[3]) == b"ok"


@case("finishing in mid-body keeps the rest of the body")
def _() -> None:
    bench = Bench()
    frame = data(1, bytes(100), SYN | FIN)
    bench.feed(frame[:50])
    bench.session.send_finish(bench.session.streams[0])
    assert bench.feed(frame[50:]).names()[-1] == "StreamFinished"
    assert len(bench.received[1]) == 100


@case("frames for unknown streams are ignored, never answered")
def _() -> None:
    bench = Bench().feed(data(9, b"body"), update(9, 5), data(9, b"", FIN), data(9, b"", RST), data(0, b"zero"))
    assert (bench.names(), bench.sent()) == ([], [])
    bench.expect_alive()


@case("a client resets a stream that the server opens, and skips its body")
def _() -> None:
    bench = Bench(client=True).feed(data(2, b"psst", SYN), data(2, b"more"), update(4, 1, SYN))
    assert bench.names() == []
    assert bench.sent() == [Frame(DATA, RST, 2, 0), Frame(DATA, RST, 4, 0)]
    bench.expect_alive()


@case("SYN with an even id at a server: go-away 1")
def _() -> None:
    Bench().feed(data(2, b"", SYN)).expect_failed(PROTOCOL_ERROR)


@case("SYN with an odd id at a client: go-away 1")
def _() -> None:
    Bench(client=True).feed(data(1, b"", SYN)).expect_failed(PROTOCOL_ERROR)


@case("SYN with id 0: go-away 1, on both sides")
def _() -> None:
    for client in (False, True):
        Bench(client=client).feed(data(0, b"", SYN)).expect_failed(PROTOCOL_ERROR)


@case("WindowUpdate with SYN and the wrong parity: go-away 1")
def _() -> None:
    Bench().feed(update(2, 0, SYN)).expect_failed(PROTOCOL_ERROR)
    Bench(client=True).feed(update(1, 0, SYN)).expect_failed(PROTOCOL_ERROR)


@case("SYN for an open stream: go-away 1")
def _() -> None:
    for again in (data(1, b"", SYN), update(1, 0, SYN)):
        bench = Bench()
        bench.accept()
        bench.feed(again).expect_failed(PROTOCOL_ERROR)


@case("SYN for the client's own open stream: go-away 1")
def _() -> None:
    bench = Bench(client=True)
    bench.opened()
    bench.feed(data(1, b"", SYN)).expect_failed(PROTOCOL_ERROR)
