"""The independent peer against itself: before it judges anything else, it has to work."""

import hashlib
import random

import pytest

from tests.peer.extensions import Value, decode_extensions, encode_extensions
from tests.peer.mux import ACK, DATA, PING, RST, SYN
from tests.peer.noise import PeerHandshakeError, public_of
from tests.peer.peer import DENIED, UNREACHABLE, PeerClient, PeerRefusedError, PeerServer
from tests.peer.services import EchoService, closed_port

SERVER_SECRET, ADMIN_SECRET, PSK = bytes([0x22] * 32), bytes([0x11] * 32), bytes(range(32))


def server_for(port: int, *, plain: bool = True) -> PeerServer:
    return PeerServer(SERVER_SECRET, PSK, {public_of(ADMIN_SECRET)}, {port}, plain=plain)


def client_for(server: PeerServer, *, plain: bool = True, psk: bytes = PSK, secret: bytes = ADMIN_SECRET) -> PeerClient:
    return PeerClient("127.0.0.1", server.port, public_of(SERVER_SECRET), secret, psk, plain=plain)


def round_trip(client: PeerClient, port: int, data: bytes) -> bytes:
    stream = client.open(port)
    answer = stream.exchange(data)
    stream.close()
    return answer


@pytest.mark.parametrize("client_plain", [True, False])
@pytest.mark.parametrize("server_plain", [True, False])
@pytest.mark.parametrize("size", [1, 16_384, 262_145, 3_000_000])
def test_transfer(client_plain: bool, server_plain: bool, size: int) -> None:
    data = random.Random(size).randbytes(size)
    with EchoService() as echo, server_for(echo.port, plain=server_plain) as server:
        with client_for(server, plain=client_plain) as client:
            assert hashlib.sha256(round_trip(client, echo.port, data)).digest() == hashlib.sha256(data).digest()
            assert client.session.mux.violations == []
        assert server.sessions[0].mux.violations == []
        assert max(client.session.reader.sizes) <= (65_519 if not client_plain and not server_plain else 16_384)


def test_many_streams_at_once() -> None:
    with EchoService() as echo, server_for(echo.port) as server, client_for(server) as client:
        streams = [client.open(echo.port) for _ in range(50)]
        for number, stream in enumerate(streams):
            stream.write(bytes([number]) * 1000)
            stream.finish()
        for number, stream in enumerate(streams):
            assert stream.read_all() == bytes([number]) * 1000


def test_refusals() -> None:
    dead_port = closed_port()
    with server_for(dead_port) as server, client_for(server) as client:
        with pytest.raises(PeerRefusedError) as refused:
            client.open(dead_port)
        assert refused.value.code == UNREACHABLE
        with pytest.raises(PeerRefusedError) as refused:
            client.open(1)
        assert refused.value.code == DENIED


def test_wrong_psk_and_unknown_admin() -> None:
    with server_for(1) as server:
        with pytest.raises(PeerHandshakeError):
            client_for(server, psk=bytes(32))
        with pytest.raises(PeerHandshakeError, match="closed"):
            client_for(server, secret=bytes([9] * 32))


def test_extensions_are_exchanged() -> None:
    with server_for(22, plain=False) as server, client_for(server, plain=False) as client:
        assert client.extensions == {
            "x": 1, "frame": 65_519, "agent": "independent-peer/1", "name": "peer", "ports": [22],
        }  # fmt: skip
        assert server.offers[0]["frame"] == 65_519


def test_extension_codec_round_trip() -> None:
    values: dict[str, Value] = {
        "x": 1,
        "frame": 65_519,
        "name": "n" * 64,
        "ports": [22, 300, 65_535],
        "time": 1_795_000_000_123,
    }
    assert decode_extensions(encode_extensions(values)) == values
    for bad in (b"\x01", b"\x81\xa1x", b"\x81\xa1x\x01\x00", b"\xc1"):
        with pytest.raises(ValueError, match=r"payload|type byte"):
            decode_extensions(bad)


def test_ping_and_raw_hooks() -> None:
    with EchoService() as echo, server_for(echo.port) as server, client_for(server) as client:
        client.session.ping(77)
        client.session.send_raw_frame(DATA, SYN, 1, 2, echo.port.to_bytes(2, "big"))
        client.session.send_raw_record(b"")
        client.session.ping(78)
        frames = client.session.mux.frames
        assert [frame for frame in frames if frame[0] == PING and frame[1] & ACK][-1] == (PING, ACK, 0, 78)
        client.session.send_raw_bytes(b"\x00\x0f")  # a record shorter than its tag
        assert client.session.wait_end() in {"eof", "reset"}
        assert server.sessions[0].ended == "record"


def test_the_referee_sees_violations() -> None:
    with EchoService() as echo, server_for(echo.port) as server, client_for(server) as client:
        client.session.send_raw_frame(PING, ACK, 0, 4_242)
        client.session.send_raw_frame(DATA, SYN, 2, 0)
        client.session.send_raw_frame(DATA, RST, 99, 0)
        client.session.ping(5)
        assert server.sessions[0].mux.violations == ["pong that nobody asked for", "SYN for stream 2"]
