"""``proto.noise.handshake``: both roles, and every way in which a message can be bad."""

from collections.abc import Callable

import pytest

from hyperion.proto.errors import HandshakeError
from hyperion.proto.noise.handshake import (
    MESSAGE_1_MIN_BYTES,
    MESSAGE_2_MIN_BYTES,
    PROLOGUE,
    HandshakeResult,
    Initiator,
    Responder,
)
from tests.helpers.pair import (
    ADMIN,
    ADMIN_PUBLIC,
    CLIENT_EPHEMERAL,
    PSK,
    SERVER,
    SERVER_EPHEMERAL,
    SERVER_PUBLIC,
    public_of,
)
from tests.helpers.points import LOW_ORDER


def initiator(
    *, psk: bytes = PSK, server_public: bytes = SERVER_PUBLIC, payload: bytes = b"", prologue: bytes = PROLOGUE
) -> Initiator:
    return Initiator(
        static=ADMIN,
        server_public=server_public,
        psk=psk,
        ephemeral=CLIENT_EPHEMERAL,
        payload=payload,
        prologue=prologue,
    )


def responder(*, psk: bytes = PSK, prologue: bytes = PROLOGUE) -> Responder:
    return Responder(static=SERVER, psk=psk, ephemeral=SERVER_EPHEMERAL, prologue=prologue)


def expect_refused(action: Callable[[], object], reason: str, match: str = "refused|short|usable") -> None:
    with pytest.raises(HandshakeError, match=match) as caught:
        action()
    assert caught.value.reason == reason
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(1_000)])
def test_both_roles(payload: bytes) -> None:
    client, server = initiator(payload=payload), responder()
    first = client.create_message_1()
    assert len(first) == MESSAGE_1_MIN_BYTES + len(payload)
    assert server.consume_message_1(first) == (ADMIN_PUBLIC, payload)
    second, at_server = server.create_message_2(payload)
    assert len(second) == MESSAGE_2_MIN_BYTES + len(payload)
    at_client = client.consume_message_2(second)
    assert at_client.payload == payload
    assert (at_client.peer_public, at_server.peer_public) == (SERVER_PUBLIC, ADMIN_PUBLIC)
    assert at_client.send_key == at_server.receive_key != at_client.receive_key == at_server.send_key
    assert at_client.handshake_hash == at_server.handshake_hash
    assert len(at_client.send_key) == len(at_client.handshake_hash) == 32


def test_the_result_hides_its_keys() -> None:
    result = HandshakeResult(b"k" * 32, b"r" * 32, b"h" * 32, b"p" * 32, b"four")
    assert repr(result) == f"{result}" == "HandshakeResult(payload=4 bytes)"
    assert result.__rich_repr__() == [("payload_bytes", 4)]


@pytest.mark.parametrize("size", [*range(0, MESSAGE_1_MIN_BYTES, 5), 95, 96, 97, 4_096, 65_535])
def test_message_1_of_zeros(size: int) -> None:
    expect_refused(lambda: responder().consume_message_1(bytes(size)), "malformed")


@pytest.mark.parametrize("size", [*range(0, MESSAGE_2_MIN_BYTES, 5), 47])
def test_short_message_2(size: int) -> None:
    client = initiator()
    client.create_message_1()
    expect_refused(lambda: client.consume_message_2(bytes(size)), "malformed")


def test_each_byte_of_message_1_flipped() -> None:
    good = initiator().create_message_1()
    for at in range(MESSAGE_1_MIN_BYTES):
        for mask in (0x01, 0x80, 0xFF):
            bad = bytearray(good)
            bad[at] ^= mask
            expect_refused(lambda bad=bytes(bad): responder().consume_message_1(bad), "malformed")  # type: ignore[misc]


def test_each_byte_of_message_2_flipped() -> None:
    server = responder()
    server.consume_message_1(initiator().create_message_1())
    good, _ = server.create_message_2()
    for at in range(MESSAGE_2_MIN_BYTES):
        for mask in (0x01, 0x80, 0xFF):
            client = initiator()
            client.create_message_1()
            bad = bytearray(good)
            bad[at] ^= mask
            expect_refused(lambda c=client, b=bytes(bad): c.consume_message_2(b), "bad-psk")  # type: ignore[misc]


def test_a_byte_more_or_less() -> None:
    good = initiator().create_message_1()
    expect_refused(lambda: responder().consume_message_1(good + b"\0"), "malformed")
    expect_refused(lambda: responder().consume_message_1(good[:-1]), "malformed")


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_low_order_ephemeral_in_message_1(point: bytes) -> None:
    good = initiator().create_message_1()
    expect_refused(lambda: responder().consume_message_1(point + good[32:]), "malformed", "ValueError")


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_low_order_static_in_message_1(point: bytes) -> None:
    """Properly encrypted, as a hostile client does who knows the server's key."""
    client = initiator()
    state = client._protocol.handshake_state
    state.s = type(state.s).from_private_bytes(ADMIN)
    state.s.public_bytes = point
    first = client.create_message_1()
    assert len(first) == MESSAGE_1_MIN_BYTES
    expect_refused(lambda: responder().consume_message_1(first), "malformed", "ValueError")


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_low_order_ephemeral_in_message_2(point: bytes) -> None:
    client, server = initiator(), responder()
    server.consume_message_1(client.create_message_1())
    good, _ = server.create_message_2()
    expect_refused(lambda: client.consume_message_2(point + good[32:]), "bad-psk", "ValueError")


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_low_order_server_key(point: bytes) -> None:
    expect_refused(lambda: initiator(server_public=point).create_message_1(), "bad-server-key")


def test_message_2_that_cannot_be_made() -> None:
    """A low-order ephemeral never gets so far; should one do, it is refused and not raised."""
    server = responder()
    server.consume_message_1(initiator().create_message_1())
    state = server._protocol.handshake_state
    state.re = type(state.re).from_public_bytes(bytes(32))
    expect_refused(server.create_message_2, "malformed")


@pytest.mark.parametrize("version", [0, 2, 256, 65_535])
def test_another_version(version: int) -> None:
    prologue = b"hyperion-vpn" + version.to_bytes(2, "big")
    expect_refused(lambda: responder().consume_message_1(initiator(prologue=prologue).create_message_1()), "malformed")


@pytest.mark.parametrize("prologue", [b"", b"hyperion-vpn", PROLOGUE + b"\0", PROLOGUE.upper()])
def test_another_prologue(prologue: bytes) -> None:
    expect_refused(lambda: responder().consume_message_1(initiator(prologue=prologue).create_message_1()), "malformed")


def test_another_psk_shows_in_message_2_only() -> None:
    client, server = initiator(psk=b"\x99" * 32), responder()
    assert server.consume_message_1(client.create_message_1()) == (ADMIN_PUBLIC, b"")
    second, _ = server.create_message_2()
    expect_refused(lambda: client.consume_message_2(second), "bad-psk")


def test_a_client_of_another_server() -> None:
    other = initiator(server_public=public_of(b"\x77" * 32))
    expect_refused(lambda: responder().consume_message_1(other.create_message_1()), "malformed")


def test_errors_do_not_show_bytes() -> None:
    with pytest.raises(HandshakeError) as caught:
        responder().consume_message_1(b"Z" * 96)
    assert "Z" not in str(caught.value).replace("InvalidTag", "")
