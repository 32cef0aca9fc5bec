"""Hostile peers at a tunnel, in numbers: whatever they send ends their own connection, and nothing else happens.

The short forms run always; ``long`` ones go through everything.
"""

import random
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.backends.default.diffie_hellmans import ED25519

from hyperion.proto.errors import HandshakeError
from hyperion.proto.extensions import PLAIN
from hyperion.proto.noise.handshake import PROLOGUE, Initiator, Responder
from hyperion.proto.noise.record import RecordWriter
from hyperion.proto.noise.seen import SeenEphemerals
from hyperion.proto.tunnel import ClientTunnel, ServerTunnel, Tunnel, TunnelFailed, TunnelRefused, TunnelState
from hyperion.proto.yamux.frame import FrameType, encode_header
from tests.helpers.pair import (
    ADMIN,
    CLIENT_EPHEMERAL,
    PSK,
    SERVER,
    SERVER_EPHEMERAL,
    SERVER_PUBLIC,
    START,
    Pair,
    framed,
    names,
    new_client,
    new_server,
    raw_client,
    raw_server,
    take_events,
)
from tests.helpers.points import LOW_ORDER


def message_1() -> bytes:
    return b"".join(new_client().data_to_send())[2:]


def message_2_for(client: Tunnel) -> bytes:
    responder = Responder(static=SERVER, psk=PSK, ephemeral=SERVER_EPHEMERAL)
    responder.consume_message_1(b"".join(client.data_to_send())[2:])
    return responder.create_message_2()[0]


def refusal(tunnel: Tunnel) -> str:
    """The reason the one event gives; nothing was said to the peer."""
    (event,) = take_events(tunnel)
    assert isinstance(event, TunnelRefused if isinstance(tunnel, ServerTunnel) else TunnelFailed)
    assert isinstance(event.error, HandshakeError)
    assert tunnel.data_to_send() == []
    return event.error.reason


def refused_by_server(message: bytes) -> str:
    server = new_server()
    server.receive_data(memoryview(framed(message)), START)
    return refusal(server)


def refused_by_client(client: ClientTunnel, message: bytes) -> str:
    client.receive_data(memoryview(framed(message)), START)
    return refusal(client)


# --- the handshake


def test_144_flipped_bytes() -> None:
    refused = 0
    first = message_1()
    for at in range(96):
        bad = bytearray(first)
        bad[at] ^= 1 << at % 8
        refused += refused_by_server(bytes(bad)) == "malformed"
    for at in range(48):
        client = new_client()
        bad = bytearray(message_2_for(client))
        bad[at] ^= 1 << at % 8
        refused += refused_by_client(client, bytes(bad)) == "bad-psk"
    assert refused == 144


def expect_nothing_comes_of(length: int, rng: random.Random) -> None:
    """A handshake message of ``length`` random bytes, cut anywhere, in every state before OPEN."""
    wire = length.to_bytes(2, "big") + rng.randbytes(length)
    cuts = sorted(rng.randrange(len(wire) + 1) for _ in range(3))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    admission, proof = new_server(), raw_client()
    admission.receive_data(memoryview(framed(message_1())), START)
    client = new_client()
    client.data_to_send()
    for tunnel in (client, new_server(), admission, proof.side.tunnel):
        take_events(tunnel)
        for piece in pieces:
            tunnel.receive_data(memoryview(piece), START)
        if tunnel is admission:
            assert tunnel.state is TunnelState.ADMISSION
            admission.admit(PLAIN, START)
            admission.data_to_send()
        tunnel.receive_eof()
        assert tunnel.state is TunnelState.FAILED
        assert set(names(take_events(tunnel))) <= {"TunnelRefused", "TunnelFailed"}
        assert tunnel.data_to_send() == []


@pytest.mark.parametrize("length", [*range(20), 31, 32, 33, 47, 48, 49, 80, 95, 96, 97, 4_095, 4_096, 4_097, 4_200])
def test_handshake_lengths(length: int) -> None:
    expect_nothing_comes_of(length, random.Random(length))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_handshake_lengths() -> None:
    for length in range(4_201):
        expect_nothing_comes_of(length, random.Random(length))


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_low_order_points(point: bytes) -> None:
    assert refused_by_server(point + message_1()[32:]) == "malformed"
    client = new_client()
    assert refused_by_client(client, point + message_2_for(client)[32:]) == "bad-psk"
    forger = Initiator(static=ADMIN, server_public=SERVER_PUBLIC, psk=PSK, ephemeral=CLIENT_EPHEMERAL)
    forger._protocol.handshake_state.s.public_bytes = point
    assert refused_by_server(forger.create_message_1()) == "malformed"


@pytest.mark.parametrize("version", [0, 2, 3, 255, 256, 65_535])
def test_another_version(version: int) -> None:
    stranger = Initiator(
        static=ADMIN,
        server_public=SERVER_PUBLIC,
        psk=PSK,
        ephemeral=CLIENT_EPHEMERAL,
        prologue=PROLOGUE[:-2] + version.to_bytes(2, "big"),
    )
    assert refused_by_server(stranger.create_message_1()) == "malformed"


@pytest.mark.parametrize("payload", [b"\x01", b"\xc1", b"\x81\xa5agent\xa1\xff", b"\x81\xa1x\xff", b"\x80" * 1_025])
def test_parameters_that_are_none(payload: bytes) -> None:
    first = Initiator(
        static=ADMIN, server_public=SERVER_PUBLIC, psk=PSK, ephemeral=CLIENT_EPHEMERAL, payload=payload
    ).create_message_1()
    assert refused_by_server(first) == "malformed"
    client = new_client()
    raw_server(client, payload=payload)
    assert refusal(client) == "malformed"


# --- replay, and half a proof


@dataclass
class KeyAgreements:
    count: int = 0


@pytest.fixture
def key_agreements(monkeypatch: pytest.MonkeyPatch) -> KeyAgreements:
    """Counts every Diffie-Hellman of the noise package."""
    counter, real = KeyAgreements(), ED25519.dh

    def dh(self: object, private: object, public: object) -> object:
        counter.count += 1
        return real(self, private, public)

    monkeypatch.setattr(ED25519, "dh", dh)
    return counter


def test_a_replay_costs_no_key_agreement(key_agreements: KeyAgreements) -> None:
    first, seen = message_1(), SeenEphemerals()
    server = new_server(seen=seen)
    server.receive_data(memoryview(framed(first)), START)
    server.admit(PLAIN, START)
    before = key_agreements.count
    assert before >= 4  # the counter works
    for _ in range(1_000):
        server = new_server(seen=seen)
        server.receive_data(memoryview(framed(first)), START)
        assert refusal(server) == "replay"
    assert key_agreements.count == before


def half_proven(records: bytes) -> ServerTunnel:
    """Someone recorded message 1 and sends it to a worker that does not know it: he gets message 2, and no further."""
    server = new_server()
    server.receive_data(memoryview(framed(message_1())), START)
    assert names(take_events(server)) == ["AdmissionRequested"]
    server.admit(PLAIN, START)
    assert len(b"".join(server.data_to_send())) == 50
    server.receive_data(memoryview(records), START)
    return server


@pytest.mark.parametrize("size", [16, 28, 100, 16_400])
def test_a_replay_at_another_worker_never_opens(size: int) -> None:
    server = half_proven(size.to_bytes(2, "big") + random.Random(size).randbytes(size))
    assert refusal(server) == "bad-psk"


def test_a_replay_that_says_nothing_ends_at_the_deadline() -> None:
    server = half_proven(b"")
    deadline = server.next_timeout()
    assert deadline is not None
    server.handle_timeout(deadline)
    assert refusal_names(server) == ["TunnelFailed"]


def refusal_names(tunnel: Tunnel) -> list[str]:
    assert tunnel.data_to_send() == []
    return names(take_events(tunnel))


def half_proof() -> None:
    """The right admin key and another PSK: the client notices at message 2; one that goes on regardless is refused."""
    pair = Pair(client=new_client(psk=b"\x99" * 32))
    pair.settle()
    assert pair.client.names == ["TunnelFailed"]
    assert pair.server.names == ["AdmissionRequested"]
    record = RecordWriter(ChaCha20Poly1305(b"\x99" * 32), 100).seal(memoryview(encode_header(FrameType.PING, 1, 0, 1)))
    pair.server.tunnel.receive_data(memoryview(record), START)
    assert refusal(pair.server.tunnel) == "bad-psk"


def test_half_proof() -> None:
    half_proof()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_half_proof_10_000_times() -> None:
    for _ in range(10_000):
        half_proof()
