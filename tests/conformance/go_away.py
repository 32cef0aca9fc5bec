"""Section 5: the end of a session."""

import pytest

from hyperion.proto.errors import StreamLimitError, StreamStateError
from hyperion.proto.yamux.events import PeerWentAway
from hyperion.proto.yamux.frame import GoAwayCode
from tests.conformance.bench import ACK, GO_AWAY, PING, SYN, Bench, Frame, data, go_away, ping
from tests.conformance.case import Section
from tests.peer.mux import header

section = Section(5, "go away")
case = section.case


def _code_of(bench: Bench) -> int:
    event = bench.events()[-1]
    assert isinstance(event, PeerWentAway)
    return event.code


@case("the codes 0, 1 and 2 are told")
def _() -> None:
    assert [_code_of(Bench().feed(go_away(code))) for code in (0, 1, 2)] == [0, 1, 2]


@case("an unknown code is told as it is")
def _() -> None:
    assert [_code_of(Bench().feed(go_away(code))) for code in (3, 2**32 - 1)] == [3, 2**32 - 1]


@case("flags and stream id of a go-away do not matter")
def _() -> None:
    assert _code_of(Bench().feed(header(GO_AWAY, 0xFFFF, 77, 1))) == 1


@case("a go-away is not answered")
def _() -> None:
    assert Bench().feed(go_away(1)).sent() == []


@case("after a go-away everything is discarded")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.feed(go_away(0))
    assert _code_of(bench) == 0
    bench.expect_over()


@case("what came before a go-away in the same piece counts")
def _() -> None:
    bench = Bench().feed(data(1, b"last words", SYN) + go_away(0) + data(1, b"too late"))
    assert bench.names() == ["StreamOpened", "StreamData", "PeerWentAway"]
    assert bytes(bench.received[1]) == b"last words"


@case("after a go-away no stream can be opened or written")
def _() -> None:
    bench = Bench(client=True)
    stream = bench.opened()
    bench.feed(go_away(0))
    with pytest.raises(StreamLimitError):
        bench.session.open_stream()
    with pytest.raises(StreamStateError):
        bench.session.send_data(stream, b"x")


@case("finishing and resetting after the end send nothing")
def _() -> None:
    bench = Bench(client=True)
    first, second = bench.opened(), bench.opened()
    bench.feed(go_away(0))
    bench.session.send_finish(first)
    bench.session.send_reset(second)
    bench.session.consumed(first, 0, bench.now)
    assert bench.sent() == []


@case("our own go-away has the right bytes and ends the session")
def _() -> None:
    bench = Bench()
    bench.accept()
    bench.session.send_go_away(GoAwayCode.NORMAL)
    assert bytes(bench.session.data_to_send()).hex() == "000300000000000000000000"
    bench.expect_over()


@case("a go-away is sent once")
def _() -> None:
    bench = Bench()
    bench.session.send_go_away(GoAwayCode.INTERNAL_ERROR)
    bench.session.send_go_away(GoAwayCode.NORMAL)
    bench.feed(data(2, b"", SYN))
    assert bench.sent() == [Frame(GO_AWAY, 0, 0, 2)]


@case("frames queued before a violation go out before its go-away")
def _() -> None:
    bench = Bench().feed(ping(1) + data(2, b"", SYN))
    assert bench.sent() == [Frame(PING, ACK, 0, 1), Frame(GO_AWAY, 0, 0, 1)]


@case("the frames behind a violation in the same piece have no effect")
def _() -> None:
    bench = Bench().feed(data(2, b"", SYN) + ping(1) + data(1, b"x", SYN) + go_away(0))
    assert bench.sent() == [Frame(GO_AWAY, 0, 0, 1)]
    assert bench.names() == ["SessionFailed"]
