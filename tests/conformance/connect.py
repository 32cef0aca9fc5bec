"""Section 7: the connect request and its answer, on the stream that carries them."""

import pytest

from hyperion.proto.connect import ConnectError, ConnectStatus, decode_request, decode_response, encode_request
from tests.conformance.bench import ACK, DATA, FIN, RST, SYN, Bench, Frame, data
from tests.conformance.case import Section

section = Section(7, "connect request and response")
case = section.case


@case("the request is the first frame: Data, SYN, two bytes, big-endian")
def _() -> None:
    bench = Bench(client=True)
    bench.session.send_data(bench.session.open_stream(), encode_request(5432))
    assert bench.sent() == [Frame(DATA, SYN, 1, 2, b"\x15\x38")]


@case("every port survives the request")
def _() -> None:
    for port in range(1, 65_536):
        raw = encode_request(port)
        assert len(raw) == 2
        assert decode_request(raw) == port == raw[0] * 256 + raw[1]


@case("a request in two frames")
def _() -> None:
    bench = Bench().feed(data(1, b"\x00", SYN), data(1, b"\x16"))
    bench.events()
    assert decode_request(bench.received[1]) == 22


@case("a request cut in mid-body")
def _() -> None:
    frame = data(1, b"\x00\x16", SYN)
    bench = Bench().feed(frame[:13], frame[13:])
    bench.events()
    assert decode_request(bench.received[1]) == 22


@case("bytes behind the request wait in order")
def _() -> None:
    bench = Bench().feed(data(1, b"\x00\x16early", SYN), data(1, b" birds"))
    bench.events()
    assert bytes(bench.received[1][2:]) == b"early birds"


@case("the answers are 0, 1 and 2")
def _() -> None:
    answers = [decode_response(value) for value in (0, 1, 2)]
    assert answers == [ConnectStatus.OK, ConnectStatus.DENIED, ConnectStatus.UNREACHABLE]


@case("any other answer is refused")
def _() -> None:
    for value in range(3, 256):
        with pytest.raises(ConnectError):
            decode_response(value)


@case("the answer Ok goes out as Data with ACK, one byte")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, encode_request(22))
    bench.session.send_data(stream, bytes([ConnectStatus.OK]))
    assert bench.sent() == [Frame(DATA, ACK, 1, 1, b"\x00")]


@case("a refusal goes out as Data with ACK and an RST right behind it")
def _() -> None:
    for status in (ConnectStatus.DENIED, ConnectStatus.UNREACHABLE):
        bench = Bench()
        stream = bench.accept(1, encode_request(22))
        bench.session.send_data(stream, bytes([status]))
        bench.session.send_reset(stream)
        assert bench.sent() == [Frame(DATA, ACK, 1, 1, bytes([status])), Frame(DATA, RST, 1, 0)]


@case("a refusal is readable though an RST follows at once")
def _() -> None:
    bench = Bench(client=True)
    bench.opened(acknowledged=False)
    assert bench.feed(data(1, b"\x02", ACK) + data(1, b"", RST)).names() == ["StreamData", "StreamReset"]
    assert decode_response(bench.received[1][0]) is ConnectStatus.UNREACHABLE


@case("the answer may come with the service's first bytes")
def _() -> None:
    bench = Bench(client=True)
    bench.opened(acknowledged=False)
    bench.feed(data(1, b"\x00SSH-2.0", ACK)).events()
    assert decode_response(bench.received[1][0]) is ConnectStatus.OK
    assert bytes(bench.received[1][1:]) == b"SSH-2.0"


@case("a client that finishes with its request still gets the answer")
def _() -> None:
    bench = Bench()
    stream = bench.accept(1, encode_request(22), SYN | FIN)
    bench.session.send_data(stream, b"\x00")
    bench.session.send_finish(stream)
    assert bench.sent() == [Frame(DATA, ACK, 1, 1, b"\x00"), Frame(DATA, FIN, 1, 0)]
