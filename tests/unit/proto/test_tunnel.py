"""``proto.tunnel``: the order of things, the one deadline, silence towards the refused, and the events in order."""

import gc

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.errors import HandshakeError, LocalProtocolError, RecordError, RemoteProtocolError, YamuxError
from hyperion.proto.extensions import PLAIN, Parameters, encode_parameters
from hyperion.proto.noise.record import BASE_PLAINTEXT_BYTES, MAX_PLAINTEXT_BYTES, RecordWriter
from hyperion.proto.tunnel import (
    TunnelFailed,
    TunnelOpened,
    TunnelRefused,
)
from hyperion.proto.yamux.events import PeerWentAway, StreamData
from hyperion.proto.yamux.frame import HEADER_BYTES, GoAwayCode
from tests.helpers.pair import (
    ADMIN,
    ADMIN_PUBLIC,
    EXTENDED,
    PSK,
    SERVER,
    SERVER_PUBLIC,
    START,
    Pair,
    asked,
    feed,
    names,
    new_client,
    new_server,
    raw_client,
    raw_server,
    split_records,
    take_events,
)

PING_FRAME = b"\x00\x02\x00\x01" + bytes(4) + b"\xde\xad\xbe\xef"
SYN_FRAME = b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00\x16"


# --- the good way


@pytest.mark.parametrize("cut", [1, 7, None])
def test_handshake(cut: int | None) -> None:
    pair = Pair()
    pair.settle(cut)
    assert pair.client.names == ["TunnelOpened", "RoundTrip"]
    assert pair.server.names == ["AdmissionRequested", "TunnelOpened", "RoundTrip"]
    assert pair.client.events[0] == TunnelOpened(SERVER_PUBLIC, PLAIN)
    assert pair.server.events[1] == TunnelOpened(ADMIN_PUBLIC, PLAIN)
    assert pair.client.tunnel.max_body == pair.server.tunnel.max_body == BASE_PLAINTEXT_BYTES - HEADER_BYTES


def test_extended_handshake() -> None:
    said = Parameters(x=1, frame=20_000, agent="server/1", time=5, ports=(22,), name="web1")
    pair = Pair(client=new_client(own=EXTENDED), own=said)
    pair.settle()
    assert pair.client.events[0] == TunnelOpened(SERVER_PUBLIC, said)
    assert pair.server.events[1] == TunnelOpened(ADMIN_PUBLIC, EXTENDED)
    assert pair.client.tunnel.max_body == pair.server.tunnel.max_body == 20_000 - HEADER_BYTES


def test_a_plain_client_hears_no_parameters() -> None:
    server = asked()
    server.admit(EXTENDED, START)
    assert len(b"".join(server.data_to_send())) == 2 + 48


def test_an_extended_client_with_a_plain_server_stays_plain() -> None:
    client = new_client(own=EXTENDED)
    raw_server(client)
    assert client.max_body == BASE_PLAINTEXT_BYTES - HEADER_BYTES


@pytest.mark.parametrize("extended", [False, True])
def test_streams_carry_bytes_both_ways(extended: bool) -> None:
    pair = Pair.opened(extended=extended)
    near, far = pair.open_stream(b"\x00\x16")
    pair.server.tunnel.mux.send_data(far, b"\x00" + b"a" * 100_000)
    pair.client.tunnel.mux.send_data(near, b"b" * 100_000)
    pair.settle()
    assert pair.client.received == {1: b"\x00" + b"a" * 100_000}
    assert pair.server.received == {1: b"\x00\x16" + b"b" * 100_000}


def test_a_record_holds_no_more_than_agreed() -> None:
    for extended, largest in ((False, BASE_PLAINTEXT_BYTES), (True, MAX_PLAINTEXT_BYTES)):
        pair = Pair.opened(extended=extended)
        near, _ = pair.open_stream()
        pair.client.tunnel.mux.send_data(near, bytes(200_000))
        sizes = [len(record) - 18 for record in pair.client.tunnel.data_to_send()]
        assert sizes[0] == max(sizes) == largest
        assert sum(sizes) == 200_000 + HEADER_BYTES


@pytest.mark.parametrize(("said", "taken"), [(b"", False), (encode_parameters(EXTENDED), True)])
def test_large_records_are_for_extended_peers(said: bytes, taken: bool) -> None:
    peer = raw_server(new_client(own=EXTENDED), payload=said)
    record = RecordWriter(ChaCha20Poly1305(peer.send_key), MAX_PLAINTEXT_BYTES).seal(memoryview(PING_FRAME * 2_000))
    feed(peer.side.tunnel, bytes(record[:100]))
    assert ("TunnelFailed" in names(take_events(peer.side.tunnel))) is not taken


def test_sealing_in_place_keeps_the_order() -> None:
    pair = Pair.opened(extended=True)
    near, _ = pair.open_stream(b"1")
    tunnel = pair.client.tunnel
    buffer = bytearray(HEADER_BYTES + tunnel.max_body)
    tunnel.mux.send_data(near, b"2")
    buffer[HEADER_BYTES:] = b"3" * tunnel.max_body
    with pytest.raises(LocalProtocolError, match="something else"):  # b"2" comes first
        tunnel.seal_in_place(near, memoryview(buffer), 1, memoryview(bytearray(100)))
    pair.send_in_place(pair.client, near, buffer, tunnel.max_body)
    buffer[:] = bytes(len(buffer))  # it is free again
    pair.send_in_place(pair.client, near, buffer, 1)
    tunnel.mux.send_data(near, b"4")
    pair.settle()
    assert pair.server.received[1] == b"12" + b"3" * tunnel.max_body + b"\x004"


def test_sealing_in_place_before_the_keys() -> None:
    client = new_client()
    stream = client.mux.open_stream()
    with pytest.raises(LocalProtocolError, match="not open"):
        client.seal_in_place(stream, memoryview(bytearray(20)), 1, memoryview(bytearray(100)))


def test_data_lies_in_the_room_until_more_comes() -> None:
    room = memoryview(bytearray(1_000))
    pair = Pair()
    pair.server.tunnel.read_into(room)
    pair.settle()
    near, _ = pair.open_stream(b"first")
    pair.client.tunnel.mux.send_data(near, b"secret")
    pair.collect()
    pair.server.tunnel.receive_data(memoryview(bytes(pair.server.wire)), pair.now)
    (event,) = take_events(pair.server.tunnel)
    assert isinstance(event, StreamData)
    assert bytes(event.data) == b"secret"
    room[:] = bytes(len(room))
    assert bytes(event.data) == bytes(6)


def test_timers_while_open() -> None:
    pair = Pair.opened()
    assert pair.client.tunnel.next_timeout() == START + 6.0
    pair.advance(6.0)
    assert pair.client.names[-1] == pair.server.names[-1] == "RoundTrip"
    pair.advance(6.0, settle=False)
    for side in (pair.client, pair.server):
        side.wire.clear()
    for _ in range(2):
        pair.advance(6.0, settle=False)
    failures = [side.events[-1] for side in (pair.client, pair.server)]
    for failure in failures:
        assert isinstance(failure, TunnelFailed)
        assert isinstance(failure.error, RemoteProtocolError)
        assert failure.error.reason == "keepalive-timeout"
    assert pair.client.tunnel.next_timeout() is None


def test_an_open_tunnel_keeps_no_long_lived_secret() -> None:
    pair = Pair.opened()
    for tunnel in (pair.client.tunnel, pair.server.tunnel):
        found, todo = {id(tunnel)}, [vars(tunnel)]
        while todo:
            for thing in gc.get_referents(todo.pop()):
                if id(thing) not in found and not isinstance(thing, type) and not callable(thing):
                    found.add(id(thing))
                    assert not isinstance(thing, X25519PrivateKey)
                    assert not isinstance(thing, bytes) or thing not in (ADMIN, SERVER, PSK)
                    todo.append(thing)


# --- the end


def test_end_of_stream() -> None:
    for size, reason in ((0, "peer-closed"), (1, "truncated"), (10, "truncated")):
        peer = raw_client()
        feed(peer.side.tunnel, peer.records(PING_FRAME)[: 30 + size], peer.records(PING_FRAME)[:size])
        take_events(peer.side.tunnel)
        peer.side.tunnel.receive_eof()
        peer.side.tunnel.receive_eof()
        (event,) = take_events(peer.side.tunnel)
        assert isinstance(event, TunnelFailed)
        assert isinstance(event.error, RecordError)
        assert event.error.reason == reason


def test_end_of_stream_of_a_refused_client() -> None:
    server = new_server()
    feed(server, b"\x00\x00")
    server.receive_eof()
    refused, failed = take_events(server)
    assert isinstance(refused, TunnelRefused)
    assert failed == TunnelFailed(refused.error)


def test_what_came_before_a_bad_record_counts() -> None:
    """Whether the bad record comes in the same read or in the next must make no difference."""
    for together in (False, True):
        peer = raw_client()
        tunnel = peer.side.tunnel
        good = peer.records(SYN_FRAME)
        bad = bytearray(peer.records(PING_FRAME))
        bad[-1] ^= 1
        feed(tunnel, *([good + bad] if together else [good, bytes(bad)]))
        events = take_events(tunnel)
        assert names(events) == ["TunnelOpened", "StreamOpened", "StreamData", "TunnelFailed"]
        assert isinstance(events[-1], TunnelFailed)
        assert isinstance(events[-1].error, RecordError)


def test_events_that_wait_are_not_lost_in_a_failure() -> None:
    peer = raw_client()
    peer.send(SYN_FRAME)
    peer.side.tunnel.receive_eof()
    assert names(take_events(peer.side.tunnel)) == ["TunnelOpened", "StreamOpened", "StreamData", "TunnelFailed"]
    assert take_events(peer.side.tunnel) == []


def test_the_first_fault_is_the_one_that_is_told() -> None:
    peer = raw_client()
    peer.send(PING_FRAME)
    take_events(peer.side.tunnel)
    peer.send(b"\x00\x09" + bytes(10))  # no such type of frame
    peer.side.tunnel.receive_eof()
    (event,) = take_events(peer.side.tunnel)
    assert isinstance(event, TunnelFailed)
    assert isinstance(event.error, YamuxError)


def test_a_violation_is_answered_by_a_go_away() -> None:
    pair = Pair.opened()
    _, far = pair.open_stream()
    pair.client.tunnel.mux.send_data(pair.client.tunnel.mux.open_stream(), b"x")
    pair.server.tunnel.fail(YamuxError("a test", go_away=GoAwayCode.INTERNAL_ERROR))
    pair.settle()
    assert isinstance(pair.server.events[-1], TunnelFailed)
    assert pair.client.events[-1] == PeerWentAway(GoAwayCode.INTERNAL_ERROR)
    pair.client.tunnel.receive_eof()
    pair.collect()
    assert isinstance(pair.client.events[-1], TunnelFailed)
    assert far.gone


def test_after_the_end_nothing_happens() -> None:
    pair = Pair.opened()
    near, _ = pair.open_stream()
    tunnel = pair.client.tunnel
    error = HandshakeError("a test")
    tunnel.fail(error)
    tunnel.fail(HandshakeError("another"))
    assert take_events(tunnel) == [TunnelFailed(error)]
    pair.server.tunnel.handle_timeout(START + 100)
    for record in split_records(b"".join(pair.server.tunnel.data_to_send())):
        feed(tunnel, record)
    tunnel.handle_timeout(START + 1_000)
    tunnel.receive_eof()
    assert take_events(tunnel) == []
    assert tunnel.data_to_send() == []
    assert tunnel.next_timeout() is None
    with pytest.raises(LocalProtocolError):
        tunnel.seal_in_place(near, memoryview(bytearray(20)), 1, memoryview(bytearray(100)))
