"""``proto.tunnel`` before it is open: all that can go wrong, on both sides; a server always answers with silence."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.errors import HandshakeError, LocalProtocolError
from hyperion.proto.extensions import PLAIN
from hyperion.proto.noise.handshake import MESSAGE_MAX_BYTES, Responder
from hyperion.proto.noise.seen import SeenEphemerals
from hyperion.proto.tunnel import (
    HANDSHAKE_TIMEOUT,
    ClientTunnel,
    ServerTunnel,
    Tunnel,
    TunnelFailed,
    TunnelRefused,
    TunnelState,
)
from hyperion.proto.yamux.limits import YamuxLimits
from tests.helpers.pair import (
    ADMIN,
    PSK,
    START,
    Pair,
    asked,
    feed,
    framed,
    message_1,
    names,
    new_client,
    new_server,
    raw_client,
    raw_server,
    take_events,
)

PING_FRAME = b"\x00\x02\x00\x01" + bytes(4) + b"\xde\xad\xbe\xef"
SYN_FRAME = b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00\x16"


def held_bytes(server: ServerTunnel) -> int:
    return sum(len(value) for value in vars(server).values() if isinstance(value, bytes | bytearray))


def expect_silent(server: Tunnel, reason: str) -> None:
    """The driver knows, the peer hears nothing; whatever comes is ignored; the deadline ends it."""
    events = take_events(server)
    assert isinstance(events[-1], TunnelRefused)
    error = events[-1].error
    assert isinstance(error, HandshakeError)
    assert error.reason == reason
    assert server.state is TunnelState.SILENT
    feed(server, b"\x00\x60" + bytes(96), bytes(70_000))
    assert take_events(server) == []
    assert server.data_to_send() == []
    assert server.next_timeout() == START + HANDSHAKE_TIMEOUT
    server.handle_timeout(START + HANDSHAKE_TIMEOUT - 0.01)
    assert server.state is TunnelState.SILENT
    server.handle_timeout(START + HANDSHAKE_TIMEOUT)
    assert take_events(server) == [TunnelFailed(error)]


# --- the client's handshake goes wrong


@pytest.mark.parametrize("length", [b"\x00\x00", (MESSAGE_MAX_BYTES + 1).to_bytes(2, "big"), b"\xff\xff"])
def test_client_refuses_lengths(length: bytes) -> None:
    client = new_client()
    feed(client, length)
    assert names(take_events(client)) == ["TunnelFailed"]
    assert client.state is TunnelState.FAILED


@pytest.mark.parametrize("message", [bytes(1), bytes(47), bytes(48), bytes(MESSAGE_MAX_BYTES)])
def test_client_refuses_message_2(message: bytes) -> None:
    client = new_client()
    feed(client, framed(message))
    assert names(take_events(client)) == ["TunnelFailed"]


@pytest.mark.parametrize("payload", [b"\x01", b"\x81\xa5agent\xa1\xff", b"\x81\xa5frame\x00", b"\x80" * 1025])
def test_client_refuses_parameters(payload: bytes) -> None:
    client = new_client()
    raw_server(client, payload=payload)
    (event,) = take_events(client)
    assert isinstance(event, TunnelFailed)
    assert isinstance(event.error, HandshakeError)
    assert event.error.reason == "malformed"


def test_client_deadline() -> None:
    client = new_client()
    client.data_to_send()
    assert client.next_timeout() == START + HANDSHAKE_TIMEOUT
    client.handle_timeout(START + HANDSHAKE_TIMEOUT)
    (event,) = take_events(client)
    assert isinstance(event, TunnelFailed)
    assert isinstance(event.error, HandshakeError)
    assert event.error.reason == "handshake-timeout"
    assert client.next_timeout() is None


def test_client_with_a_useless_server_key() -> None:
    with pytest.raises(HandshakeError) as caught:
        ClientTunnel(static=ADMIN, server_public=bytes(32), psk=PSK, ephemeral=b"\x33" * 32, now=START)
    assert caught.value.reason == "bad-server-key"


# --- the server's handshake goes wrong: it always ends in silence


@pytest.mark.parametrize("length", [b"\x00\x00", (MESSAGE_MAX_BYTES + 1).to_bytes(2, "big"), b"\xff\xff"])
def test_server_refuses_lengths(length: bytes) -> None:
    server = new_server()
    feed(server, length)
    expect_silent(server, "malformed")


@pytest.mark.parametrize("size", [1, 32, 95, 96, 97, MESSAGE_MAX_BYTES])
def test_server_refuses_message_1(size: int) -> None:
    server = new_server()
    feed(server, framed(bytes(size)))
    expect_silent(server, "malformed")


@pytest.mark.parametrize("payload", [b"\x01", b"\x81\xa5agent\xa1\xff", b"\x81\xa5frame\x00", b"\x80" * 1025])
def test_server_refuses_parameters(payload: bytes) -> None:
    server = new_server()
    feed(server, message_1(payload=payload))
    expect_silent(server, "malformed")


def test_server_refuses_a_replay() -> None:
    seen = SeenEphemerals()
    asked(new_server(seen=seen)).admit(PLAIN, START)
    server = new_server(seen=seen)
    feed(server, message_1())
    expect_silent(server, "replay")


def test_strangers_cannot_make_the_server_forget() -> None:
    """Anyone who knows the server's key can make a good message 1: only admitted ones are remembered."""
    seen = SeenEphemerals(limit=2)
    asked(new_server(seen=seen)).admit(PLAIN, START)
    for number in range(3):
        stranger = new_server(seen=seen)
        feed(stranger, message_1(static=b"\x66" * 32, ephemeral=bytes([number + 1]) * 32))
        stranger.refuse("unknown-static-key")
    server = new_server(seen=seen)
    feed(server, message_1())
    expect_silent(server, "replay")


def test_server_refuses_who_is_not_listed() -> None:
    server = asked()
    server.refuse("unknown-static-key")
    expect_silent(server, "unknown-static-key")


def test_server_deadline_during_the_handshake() -> None:
    for prepare in (new_server, asked, raw_client):
        prepared = prepare()
        server = prepared if isinstance(prepared, ServerTunnel) else prepared.side.tunnel
        server.data_to_send()
        server.handle_timeout(START + HANDSHAKE_TIMEOUT)
        (event,) = take_events(server)
        assert isinstance(event, TunnelFailed)
        assert isinstance(event.error, HandshakeError)
        assert event.error.reason == "handshake-timeout"


def test_server_needs_the_proof() -> None:
    """A client with the right key but another PSK, or one that replays: it cannot make a record that opens."""
    server = asked()
    server.admit(PLAIN, START)
    server.data_to_send()
    assert server.state is TunnelState.PROOF
    feed(server, b"\x00\x1c" + bytes(28))
    expect_silent(server, "bad-psk")


def test_server_says_nothing_before_the_proof() -> None:
    server = asked()
    server.admit(PLAIN, START)
    assert len(b"".join(server.data_to_send())) == 50
    assert server.data_to_send() == []


def test_an_empty_record_is_proof() -> None:
    """A peer that coalesces badly may send one; it authenticates, and carries nothing."""
    peer = raw_client()
    feed(peer.side.tunnel, b"\x00\x10" + ChaCha20Poly1305(peer.send_key).encrypt(bytes(12), b"", None))
    assert names(take_events(peer.side.tunnel)) == ["TunnelOpened"]


def test_message_2_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Responder, payload: bytes = b"") -> None:
        raise HandshakeError("a test", reason="malformed")

    monkeypatch.setattr(Responder, "create_message_2", refuse)
    server = asked()
    server.admit(PLAIN, START)
    expect_silent(server, "malformed")


def test_bytes_right_behind_message_1_are_refused() -> None:
    """Nobody has keys yet."""
    for size in (1, 20, 60_000):
        server = new_server()
        feed(server, message_1() + b"\x00\x1c" + bytes(size))
        assert names(take_events(server)) == ["AdmissionRequested"]
        server.admit(PLAIN, START)
        server.data_to_send()
        feed(server, bytes(40))
        expect_silent(server, "bad-psk")


def test_little_is_kept_while_the_driver_decides() -> None:
    server = asked()
    for _ in range(20):
        feed(server, bytes(60_000))
    assert held_bytes(server) <= 2 * MESSAGE_MAX_BYTES
    server = new_server()
    feed(server, message_1() + bytes(60_000))
    assert held_bytes(server) <= 2 * MESSAGE_MAX_BYTES


def test_nothing_is_kept_of_a_refused_client() -> None:
    server = new_server()
    feed(server, framed(bytes(96)) + bytes(60_000))
    assert held_bytes(server) <= 32
    server = asked()
    feed(server, bytes(4_000))
    server.refuse("unknown-static-key")
    assert held_bytes(server) <= 32
    assert not any(isinstance(thing, Responder) for thing in vars(server).values())


@pytest.mark.parametrize("cause", ["end of stream", "deadline"])
def test_a_decision_that_comes_too_late_does_nothing(cause: str) -> None:
    server = new_server()
    feed(server, message_1())
    if cause == "deadline":
        server.handle_timeout(START + HANDSHAKE_TIMEOUT)
    else:
        server.receive_eof()
    server.admit(PLAIN, START)
    server.refuse("unknown-static-key")
    assert names(take_events(server)) == ["AdmissionRequested", "TunnelFailed"]
    assert server.data_to_send() == []


def test_a_decision_that_nobody_asked_for() -> None:
    with pytest.raises(LocalProtocolError, match="nobody asked"):
        new_server().admit(PLAIN, START)
    pair = Pair.opened()
    assert isinstance(pair.server.tunnel, ServerTunnel)
    with pytest.raises(LocalProtocolError, match="nobody asked"):
        pair.server.tunnel.admit(PLAIN, START)
    with pytest.raises(LocalProtocolError, match="nobody asked"):
        pair.server.tunnel.refuse("too-late")


def test_a_tunnel_has_a_role() -> None:
    tunnel = Tunnel(client=True, own=PLAIN, deadline=START, limits=YamuxLimits())
    with pytest.raises(LocalProtocolError, match="role"):
        feed(tunnel, framed(b"x"))
