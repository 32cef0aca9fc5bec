"""Records, parameters and whole tunnels: however bytes are cut, and whatever they are."""

import contextlib
import functools
from collections.abc import Callable, Sequence

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperion.proto.errors import HandshakeError
from hyperion.proto.extensions import MAX_PORTS, Parameters, decode_parameters, encode_parameters
from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES, RecordReader, RecordWriter
from hyperion.proto.tunnel import HANDSHAKE_TIMEOUT, ServerTunnel, Tunnel, TunnelEvent, TunnelState
from hyperion.proto.yamux.events import StreamData
from hyperion.proto.yamux.frame import FrameType, encode_header
from tests.helpers.pair import (
    EXTENDED,
    START,
    Pair,
    RawPeer,
    framed,
    names,
    new_client,
    new_server,
    raw_client,
    raw_server,
    take_events,
)

KEY = bytes(range(32))
CUTS = st.lists(st.integers(0, 200), max_size=30)
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64)
PARAMETERS = st.builds(
    Parameters,
    x=st.integers(0, 2**31),
    frame=st.integers(16_384, 65_519),
    agent=st.none() | PRINTABLE,
    time=st.none() | st.integers(0, 2**53),
    ports=st.none() | st.lists(st.integers(0, 65_535), max_size=MAX_PORTS).map(tuple),
    name=st.none() | PRINTABLE,
)


def pieces(wire: bytes, sizes: Sequence[int]) -> list[bytes]:
    """``wire`` in pieces of these sizes; the last piece is what is left."""
    found, at = [], 0
    for size in sizes:
        found.append(wire[at : at + size])
        at += size
    return [*found, wire[at:]]


# --- records


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=10), CUTS)
def test_records_round_trip(plaintexts: list[bytes], sizes: list[int]) -> None:
    writer = RecordWriter(ChaCha20Poly1305(KEY), MAX_PLAINTEXT_BYTES)
    reader = RecordReader(ChaCha20Poly1305(KEY), MAX_PLAINTEXT_BYTES)
    wire = b"".join(bytes(writer.seal(memoryview(plaintext))) for plaintext in plaintexts)
    opened = [plain for piece in pieces(wire, sizes) for plain in reader.receive_data(memoryview(piece))]
    assert opened == plaintexts
    assert not reader.mid_record


# --- parameters


@given(PARAMETERS)
def test_parameters_round_trip(parameters: Parameters) -> None:
    assert decode_parameters(encode_parameters(parameters)) == parameters


def decoded_or_refused(payload: bytes) -> None:
    """Any other exception is the fault looked for."""
    with contextlib.suppress(HandshakeError):
        assert isinstance(decode_parameters(payload), Parameters)


@given(st.binary(max_size=1_100))
def test_any_payload(payload: bytes) -> None:
    decoded_or_refused(payload)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["x", "frame", "agent", "time", "ports", "name", "later"])


@given(st.dictionaries(KEYS, JSON_LIKE, max_size=7), st.data())
def test_maps_of_anything_with_a_byte_changed(value: dict[str, object], data: st.DataObject) -> None:
    payload = bytearray(msgspec.msgpack.encode(value))
    decoded_or_refused(bytes(payload))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    decoded_or_refused(bytes(payload))


# --- whole tunnels


def told(events: list[TunnelEvent]) -> list[tuple[object, ...]]:
    """What events say, with the pieces of one body put together: how they are cut is no promise."""
    found: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, StreamData):
            if found and found[-1][:2] == ("StreamData", event.stream.id):
                found[-1] = (*found[-1][:2], bytes(found[-1][2]) + bytes(event.data))  # type: ignore[call-overload]
            else:
                found.append(("StreamData", event.stream.id, bytes(event.data)))
        else:
            found.append((type(event).__name__, repr(event)))
    return found


@functools.cache
def conversation() -> tuple[bytes, bytes]:
    """What a client and a server said to each other: (to the server, to the client)."""
    pair = Pair(client=new_client(own=EXTENDED), own=EXTENDED)
    said = [b"", b""]

    def settle() -> None:
        pair.collect()
        while pair.client.wire or pair.server.wire:
            for number, side in enumerate((pair.server, pair.client)):
                said[number] += side.wire
                pair.deliver(side)
            pair.collect()

    settle()
    near = pair.client.tunnel.mux.open_stream()
    pair.client.tunnel.mux.send_data(near, b"\x00\x16")
    settle()
    far = pair.server.streams[1]
    pair.server.tunnel.mux.send_data(far, b"\x00" + b"a" * 500)
    pair.client.tunnel.mux.send_data(near, b"b" * 700)
    pair.client.tunnel.mux.send_finish(near)
    settle()
    pair.server.tunnel.mux.send_finish(far)
    second = pair.client.tunnel.mux.open_stream()
    pair.client.tunnel.mux.send_data(second, b"\x00\x50")
    pair.client.tunnel.mux.send_reset(second)
    settle()
    return said[0], said[1]


def replay_to_server(to_server: bytes, sizes: Sequence[int]) -> tuple[list[tuple[object, ...]], bytes]:
    """Say the client's part once more, cut in another way. Message 1 comes alone: an honest client waits."""
    server = new_server()
    first = 2 + int.from_bytes(to_server[:2], "big")
    events: list[TunnelEvent] = []
    for piece in pieces(to_server[:first], sizes):
        server.receive_data(memoryview(piece), START)
        events += take_events(server)
    server.admit(EXTENDED, START)
    for piece in pieces(to_server[first:], sizes):
        server.receive_data(memoryview(piece), START)
        events += take_events(server)
    server.receive_eof()
    return told(events + take_events(server)), b"".join(server.data_to_send())


def replay_to_client(to_client: bytes, sizes: Sequence[int]) -> tuple[list[tuple[object, ...]], bytes]:
    client = new_client(own=EXTENDED)
    events: list[TunnelEvent] = []
    streams = [client.mux.open_stream() for _ in range(2)]
    client.mux.send_data(streams[0], b"\x00\x16")
    for piece in pieces(to_client, sizes):
        client.receive_data(memoryview(piece), START)
        events += take_events(client)
    client.receive_eof()
    return told(events + take_events(client)), b"".join(client.data_to_send())


@given(CUTS)
def test_any_cut_gives_the_same_events(sizes: list[int]) -> None:
    to_server, to_client = conversation()
    assert replay_to_server(to_server, sizes) == replay_to_server(to_server, [])
    assert replay_to_client(to_client, sizes) == replay_to_client(to_client, [])


@given(CUTS, st.data())
def test_any_cut_of_a_damaged_stream_gives_the_same_events(sizes: list[int], data: st.DataObject) -> None:
    to_server, to_client = conversation()
    for wire, replay, first in ((to_server, replay_to_server, 98), (to_client, replay_to_client, 0)):
        damaged = bytearray(wire)
        damaged[data.draw(st.integers(first, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
        assert replay(bytes(damaged), sizes)[0] == replay(bytes(damaged), [])[0]


# --- every state, every input

STATES = [
    "client handshake",
    "client open",
    "server handshake",
    "admission",
    "proof",
    "server open",
    "silent",
    "failed",
]


def in_state(state: str) -> tuple[Tunnel, RawPeer | None]:
    """A tunnel in that state, and a peer with the right keys where there are any."""
    if state == "client handshake":
        return new_client(), None
    if state == "client open":
        peer = raw_server()
        return peer.side.tunnel, peer
    if state in ("proof", "server open", "failed"):
        peer = raw_client()
        if state == "server open":
            peer.send(encode_header(FrameType.DATA, 1, 1, 3) + b"abc")
        elif state == "failed":
            peer.side.tunnel.fail(HandshakeError("a test"))
        return peer.side.tunnel, peer
    server = new_server()
    if state == "admission":
        server.receive_data(memoryview(b"".join(new_client().data_to_send())), START)
    elif state == "silent":
        server.receive_data(memoryview(b"\x00\x00"), START)
    return server, None


FRAMES = st.builds(
    lambda kind, flags, stream_id, length, body: encode_header(kind, flags, stream_id, length) + body,
    st.sampled_from([0, 1, 2, 3, 4, 255]),
    st.integers(0, 31),
    st.sampled_from([0, 1, 2, 3, 5, 2**32 - 1]),
    st.sampled_from([0, 1, 4, 262_144, 262_145, 2**32 - 1]),
    st.binary(max_size=8),
)
INPUTS = st.lists(
    st.one_of(
        st.tuples(st.just("raw"), st.binary(max_size=100)),
        st.tuples(st.just("message"), st.binary(max_size=200).map(framed)),
        st.tuples(st.just("frame"), FRAMES),
        st.tuples(st.just("time"), st.sampled_from([b"0", b"1", b"4", b"7", b"100"])),
        st.tuples(st.sampled_from(["eof", "admit", "refuse", "take", "send"]), st.just(b"")),
    ),
    max_size=12,
)


def apply(tunnel: Tunnel, peer: RawPeer | None, action: str, argument: bytes, now: float) -> None:
    match action:
        case "raw" | "message":
            tunnel.receive_data(memoryview(argument), now)
        case "frame":
            data = argument if peer is None else peer.records(argument)
            tunnel.receive_data(memoryview(data), now)
        case "time":
            tunnel.handle_timeout(now)
        case "eof":
            tunnel.receive_eof()
        case "admit" if isinstance(tunnel, ServerTunnel) and tunnel.state is TunnelState.ADMISSION:
            tunnel.admit(EXTENDED, now)
        case "refuse" if tunnel.state is not TunnelState.OPEN:
            tunnel.refuse("a test")
        case "take":
            take_events(tunnel)
        case _:
            tunnel.data_to_send()


@pytest.mark.parametrize("state", STATES)
@settings(max_examples=60)
@given(inputs=INPUTS)
def test_every_state_takes_every_input(state: str, inputs: list[tuple[str, bytes]]) -> None:
    """Nothing escapes, the end is told once and is final, and it comes by the deadline at the latest."""
    tunnel, peer = in_state(state)
    now = START
    ended = False
    for action, argument in inputs:
        now += float(argument) if action == "time" else 0.0
        apply(tunnel, peer, action, argument, now)
        ended = ended or tunnel.state is TunnelState.FAILED
        assert ended == (tunnel.state is TunnelState.FAILED)
    tunnel.handle_timeout(START + HANDSHAKE_TIMEOUT if now < START + HANDSHAKE_TIMEOUT else now)
    assert tunnel.state in (TunnelState.OPEN, TunnelState.FAILED)
    tunnel.receive_eof()
    failures = names(take_events(tunnel)).count("TunnelFailed")
    assert failures <= 1
    assert tunnel.state is TunnelState.FAILED
    tunnel.data_to_send()
    tunnel.receive_data(memoryview(bytes(500)), now)
    assert take_events(tunnel) == []
    assert tunnel.data_to_send() == []
    assert tunnel.next_timeout() is None


@given(st.binary(min_size=1, max_size=4_200), st.sampled_from([new_client, new_server]))
def test_noise_never_opens_a_tunnel(data: bytes, make: Callable[[], Tunnel]) -> None:
    tunnel = make()
    tunnel.receive_data(memoryview(data), START)
    assert not {"TunnelOpened", "AdmissionRequested"} & set(names(take_events(tunnel)))
    tunnel.handle_timeout(START + HANDSHAKE_TIMEOUT)
    assert tunnel.state is TunnelState.FAILED
