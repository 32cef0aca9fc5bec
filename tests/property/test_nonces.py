"""No nonce is used twice with one key, and no key by two writers."""

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto import tunnel as tunnel_module
from hyperion.proto.noise.handshake import HandshakeResult, Initiator, Responder
from hyperion.proto.yamux.frame import HEADER_BYTES
from tests.helpers.pair import (
    ADMIN,
    CLIENT_EPHEMERAL,
    PSK,
    SERVER,
    SERVER_EPHEMERAL,
    SERVER_PUBLIC,
    Pair,
    new_client,
)


class WatchedAead:
    """Fails when a key is used by a second writer, or a nonce does not grow."""

    last: dict[bytes, int]

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = ChaCha20Poly1305(key)
        self._sealed = False

    def encrypt_into(self, nonce: bytes, data: memoryview, associated_data: None, buf: memoryview, /) -> int:
        assert self._sealed or self._key not in self.last
        self._sealed = True
        number = int.from_bytes(nonce[4:], "little")
        assert nonce[:4] == bytes(4)
        assert number > self.last.get(self._key, -1)
        self.last[self._key] = number
        return self._aead.encrypt_into(nonce, data, associated_data, buf)

    def decrypt(self, nonce: bytes, data: memoryview, associated_data: None, /) -> bytes:
        return self._aead.decrypt(nonce, data, associated_data)

    def decrypt_into(self, nonce: bytes, data: memoryview, associated_data: None, buf: memoryview, /) -> int:
        return self._aead.decrypt_into(nonce, data, associated_data, buf)


def talk(sessions: int, records: int) -> int:
    """So many sessions with fresh ephemerals, so many records each way; how many were sealed."""
    buffer = bytearray(HEADER_BYTES + 10)
    for session in range(1, sessions + 1):
        # hashed, because X25519 ignores some bits: small numbers would give the same key now and then
        pair = Pair(client=new_client(ephemeral=hashlib.sha256(session.to_bytes(4, "big")).digest()))
        pair.settle()
        near, far = pair.open_stream()
        for number in range(records):
            for side, stream in ((pair.client, near), (pair.server, far)):
                if number % 2:
                    side.tunnel.mux.send_data(stream, b"x")
                else:
                    pair.send_in_place(side, stream, buffer, 10)
            pair.collect()
        pair.settle()
        assert len(pair.server.received[1]) == 5 + (records + 1) // 2 * 10 + records // 2
    return sum(last + 1 for last in WatchedAead.last.values())


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedAead, "last", {}, raising=False)
    monkeypatch.setattr(tunnel_module, "ChaCha20Poly1305", WatchedAead)


@pytest.mark.usefixtures("watched")
def test_no_nonce_twice() -> None:
    assert talk(sessions=10, records=200) >= 4_000
    assert len(WatchedAead.last) == 20


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("watched")
def test_no_nonce_twice_in_a_million_records() -> None:
    assert talk(sessions=1_000, records=500) >= 1_000_000


def test_each_direction_has_its_own_key() -> None:
    initiator = Initiator(static=ADMIN, server_public=SERVER_PUBLIC, psk=PSK, ephemeral=CLIENT_EPHEMERAL)
    responder = Responder(static=SERVER, psk=PSK, ephemeral=SERVER_EPHEMERAL)
    responder.consume_message_1(initiator.create_message_1())
    message, at_server = responder.create_message_2()
    at_client: HandshakeResult = initiator.consume_message_2(message)
    assert at_client.send_key != at_client.receive_key
    assert at_client.send_key == at_server.receive_key
