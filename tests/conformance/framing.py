"""Section 1: headers, bodies, pieces."""

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.events import SessionFailed
from tests.conformance.bench import FIN, SYN, Bench, Frame, data, go_away, ping, update
from tests.conformance.case import Section
from tests.peer.mux import ACK, DATA, PING, header

section = Section(1, "framing")
case = section.case

CONVERSATION = data(1, b"first", SYN) + update(1, 5) + data(3, b"", SYN) + data(1, b"second", FIN) + data(3, b"third")
EXPECTED = {1: b"firstsecond", 3: b"third"}


def _received(bench: Bench) -> dict[int, bytes]:
    bench.events()
    return {stream_id: bytes(body) for stream_id, body in bench.received.items()}


@case("a conversation in one piece")
def _() -> None:
    assert _received(Bench().feed(CONVERSATION)) == EXPECTED


@case("a conversation byte by byte")
def _() -> None:
    assert _received(Bench().feed(*(bytes([byte]) for byte in CONVERSATION))) == EXPECTED


@case("a conversation cut in two at every place")
def _() -> None:
    for cut in range(len(CONVERSATION) + 1):
        assert _received(Bench().feed(CONVERSATION[:cut], CONVERSATION[cut:])) == EXPECTED


@case("pieces of every size up to 40 bytes")
def _() -> None:
    for size in range(1, 41):
        pieces = (CONVERSATION[at : at + size] for at in range(0, len(CONVERSATION), size))
        assert _received(Bench().feed(*pieces)) == EXPECTED


@case("header and body in separate pieces")
def _() -> None:
    frame = data(1, b"body", SYN)
    assert _received(Bench().feed(frame[:12], frame[12:])) == {1: b"body"}


@case("an empty piece changes nothing")
def _() -> None:
    bench = Bench().feed(b"", CONVERSATION[:7], b"", CONVERSATION[7:], b"")
    assert _received(bench) == EXPECTED


@case("part of a body is passed on before the rest came")
def _() -> None:
    assert _received(Bench().feed(data(1, bytes(1000), SYN)[:112])) == {1: bytes(100)}


@case("a Data frame without body tells nothing")
def _() -> None:
    bench = Bench()
    bench.accept()
    assert bench.feed(data(1), data(1)).names() == []
    bench.expect_alive()


@case("unknown flag bits on a Data frame are ignored")
def _() -> None:
    assert _received(Bench().feed(data(1, b"x", SYN | 0xFFF0))) == {1: b"x"}


@case("unknown flag bits on a ping are ignored")
def _() -> None:
    assert Bench().feed(ping(9, SYN | 0x7F0)).sent() == [Frame(PING, ACK, 0, 9)]


@case("unknown flag bits alone open nothing")
def _() -> None:
    bench = Bench().feed(data(1, b"x", 0xFFF0), update(3, 1, 0x8000))
    assert bench.names() == []
    bench.expect_alive()


@case("version 1 ends the session without a go-away")
def _() -> None:
    bench = Bench().feed(header(DATA, SYN, 1, 0, version=1))
    bench.expect_failed(None)


@case("every version but 0 ends the session")
def _() -> None:
    for version in range(1, 256):
        Bench().feed(header(PING, SYN, 0, 1, version=version)).expect_failed(None)


@case("type 4 ends the session without a go-away")
def _() -> None:
    Bench().feed(header(4, 0, 0, 0)).expect_failed(None)


@case("every type above 3 ends the session")
def _() -> None:
    for kind in range(4, 256):
        Bench().feed(header(kind, 0, 1, 0)).expect_failed(None)


@case("what came before a broken header still counts")
def _() -> None:
    bench = Bench().feed(data(1, b"good", SYN) + header(9, 0, 0, 0) + data(3, b"bad", SYN))
    events = bench.events()
    assert [type(event).__name__ for event in events] == ["StreamOpened", "StreamData", "SessionFailed"]
    assert bytes(bench.received[1]) == b"good"
    assert isinstance(events[-1], SessionFailed)
    assert isinstance(events[-1].error, YamuxError)


@case("a broken header is judged only when it is whole")
def _() -> None:
    bench = Bench().feed(header(4, 0, 0, 0)[:11])
    assert bench.names() == []
    bench.feed(b"\x00").expect_failed(None)


@case("what we send has the golden bytes")
def _() -> None:
    bench = Bench(client=True)
    stream = bench.session.open_stream()
    bench.session.send_data(stream, b"\x00\x16")
    assert bytes(bench.session.data_to_send()).hex() == "0000000100000001000000020016"


@case("random bytes never raise")
def _() -> None:
    for seed in range(256):
        Bench().feed(bytes((seed * 7 + index * index) % 256 for index in range(200))).events()


@case("every single-byte change of a header is survived or refused")
def _() -> None:
    good = data(1, b"abc", SYN) + go_away(0)
    for position in range(12):
        for value in range(256):
            changed = good[:position] + bytes([value]) + good[position + 1 :]
            Bench().feed(changed).events()
