"""Hyperion's golden handshake and records: the independent peer and ``hyperion.proto``, both roles."""

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.errors import HandshakeError, RecordError
from hyperion.proto.noise import record
from hyperion.proto.noise.handshake import PROLOGUE, Initiator, Responder
from tests.peer import noise, records
from tests.vectors.numbers import GOLDEN, golden, golden_list


def initiator() -> Initiator:
    return Initiator(
        static=golden("admin_secret"),
        server_public=golden("server_public"),
        psk=golden("psk"),
        ephemeral=golden("client_ephemeral"),
    )


def responder() -> Responder:
    return Responder(static=golden("server_secret"), psk=golden("psk"), ephemeral=golden("server_ephemeral"))


def test_public_keys() -> None:
    for secret, public in (
        ("admin_secret", "admin_public"),
        ("server_secret", "server_public"),
        ("client_ephemeral", "client_ephemeral_public"),
        ("server_ephemeral", "server_ephemeral_public"),
    ):
        assert noise.public_of(golden(secret)) == golden(public)


def test_independent_peer_handshake() -> None:
    client = noise.InitiatorHandshake(
        golden("admin_secret"), golden("server_public"), golden("psk"), golden("client_ephemeral")
    )
    server = noise.ResponderHandshake(golden("server_secret"), golden("psk"), golden("server_ephemeral"))
    assert client.write_1() == golden("msg1")
    assert server.read_1(golden("msg1")) == b""
    assert server.initiator_public == golden("admin_public")
    message, server_keys = server.write_2()
    assert message == golden("msg2")
    _, keys = client.read_2(message)
    assert keys == server_keys
    assert keys == noise.SessionKeys(
        golden("key_c2s"), golden("key_s2c"), golden("handshake_hash"), golden("admin_public")
    )


def test_hyperion_initiator() -> None:
    client = initiator()
    assert golden("prologue") == PROLOGUE
    assert client.create_message_1() == golden("msg1")
    result = client.consume_message_2(golden("msg2"))
    assert (result.send_key, result.receive_key) == (golden("key_c2s"), golden("key_s2c"))
    assert (result.handshake_hash, result.peer_public, result.payload) == (
        golden("handshake_hash"),
        golden("server_public"),
        b"",
    )


def test_hyperion_responder() -> None:
    server = responder()
    assert server.consume_message_1(golden("msg1")) == (golden("admin_public"), b"")
    message, result = server.create_message_2()
    assert message == golden("msg2")
    assert (result.send_key, result.receive_key) == (golden("key_s2c"), golden("key_c2s"))
    assert (result.handshake_hash, result.peer_public) == (golden("handshake_hash"), golden("admin_public"))


def test_every_flipped_byte_of_message_1_is_refused() -> None:
    for position in range(96):
        message = bytearray(golden("msg1"))
        message[position] ^= 1
        with pytest.raises(HandshakeError):
            responder().consume_message_1(bytes(message))


def test_every_flipped_byte_of_message_2_is_refused() -> None:
    for position in range(48):
        client = initiator()
        client.create_message_1()
        message = bytearray(golden("msg2"))
        message[position] ^= 1
        with pytest.raises(HandshakeError):
            client.consume_message_2(bytes(message))


DIRECTIONS = [("key_c2s", "client_plain", "client_frames"), ("key_s2c", "server_plain", "server_frames")]


@pytest.mark.parametrize(("key", "plain", "frames"), DIRECTIONS)
def test_independent_peer_records(key: str, plain: str, frames: str) -> None:
    writer, reader = records.RecordWriter(golden(key)), records.RecordReader(golden(key))
    for plaintext, sealed in zip(golden_list(plain), golden_list(frames), strict=True):
        assert writer.seal(plaintext) == sealed
        assert reader.feed(sealed) == [plaintext]


@pytest.mark.parametrize(("key", "plain", "frames"), DIRECTIONS)
def test_hyperion_records(key: str, plain: str, frames: str) -> None:
    writer = record.RecordWriter(ChaCha20Poly1305(golden(key)), record.BASE_PLAINTEXT_BYTES)
    reader = record.RecordReader(ChaCha20Poly1305(golden(key)), record.BASE_PLAINTEXT_BYTES)
    for plaintext, sealed in zip(golden_list(plain), golden_list(frames), strict=True):
        assert writer.seal(memoryview(plaintext)) == sealed
        assert reader.receive_data(memoryview(sealed)) == [plaintext]


@pytest.mark.parametrize(("key", "plain", "frames"), DIRECTIONS)
def test_hyperion_reader_takes_records_in_any_pieces(key: str, plain: str, frames: str) -> None:
    wire, expected = b"".join(golden_list(frames)), b"".join(golden_list(plain))
    for size in range(1, len(wire) + 1):
        reader = record.RecordReader(ChaCha20Poly1305(golden(key)), record.BASE_PLAINTEXT_BYTES)
        pieces = [reader.receive_data(memoryview(wire[at : at + size])) for at in range(0, len(wire), size)]
        assert b"".join(b"".join(piece) for piece in pieces) == expected
        assert not reader.mid_record


def test_big_record() -> None:
    """The client's record 3, 16,384 bytes long, by both implementations."""
    big = GOLDEN["client_big_frame"]
    body = bytes.fromhex(big["body_byte"]) * big["body_bytes"]
    by_peer = records.RecordWriter(golden("key_c2s"))
    by_hyperion = record.RecordWriter(ChaCha20Poly1305(golden("key_c2s")), record.BASE_PLAINTEXT_BYTES)
    for plaintext in golden_list("client_plain"):
        by_peer.seal(plaintext)
        by_hyperion.seal(memoryview(plaintext))
    for sealed in (by_peer.seal(body), by_hyperion.seal(memoryview(body))):
        assert len(sealed) == big["record_bytes"]
        assert sealed[:2].hex() == big["prefix"]
        assert hashlib.sha256(sealed).hexdigest() == big["sha256"]


def test_every_flipped_bit_of_a_record_is_refused() -> None:
    sealed = golden_list("client_frames")[0]
    for bit in range(16, 8 * len(sealed)):  # the length in front is not authenticated, it only makes the rest fail
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        reader = record.RecordReader(ChaCha20Poly1305(golden("key_c2s")), record.BASE_PLAINTEXT_BYTES)
        with pytest.raises(RecordError):
            reader.receive_data(memoryview(flipped))


def test_records_out_of_order_or_twice_are_refused() -> None:
    frames = golden_list("client_frames")
    for order in ([1], [0, 0], [0, 2]):
        reader = record.RecordReader(ChaCha20Poly1305(golden("key_c2s")), record.BASE_PLAINTEXT_BYTES)
        wire = b"".join(frames[index] for index in order)
        with pytest.raises(RecordError):
            reader.receive_data(memoryview(wire))
