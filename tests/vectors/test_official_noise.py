"""The official IKpsk2 vector, all six messages and the hash, both roles, on three implementations."""

import warnings

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection

from hyperion.proto.noise.handshake import Initiator, Responder
from tests.peer.noise import InitiatorHandshake, ResponderHandshake, nonce_of, public_of
from tests.vectors.numbers import OFFICIAL, official, official_messages


def transport(send_key: bytes, receive_key: bytes) -> None:
    """Messages 3 to 6 with the two keys of the initiator."""
    for index, (payload, ciphertext) in enumerate(official_messages()[2:]):
        key = receive_key if index % 2 else send_key
        assert ChaCha20Poly1305(key).encrypt(nonce_of(index // 2), payload, None) == ciphertext


def test_numbers_belong_together() -> None:
    assert public_of(official("resp_static")) == official("init_remote_static")
    assert OFFICIAL["protocol_name"] == "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
    assert len(official_messages()) == 6


def test_independent_peer() -> None:
    (payload_1, message_1), (payload_2, message_2) = official_messages()[:2]
    initiator = InitiatorHandshake(
        official("init_static"),
        official("init_remote_static"),
        official("psk"),
        official("init_ephemeral"),
        official("prologue"),
    )
    responder = ResponderHandshake(
        official("resp_static"), official("psk"), official("resp_ephemeral"), official("prologue")
    )
    assert initiator.write_1(payload_1) == message_1
    assert responder.read_1(message_1) == payload_1
    sent, responder_keys = responder.write_2(payload_2)
    assert sent == message_2
    received, keys = initiator.read_2(message_2)
    assert received == payload_2
    assert keys == responder_keys
    assert keys.handshake_hash == official("handshake_hash")
    transport(keys.client_to_server, keys.server_to_client)


def package_connection(role: str) -> NoiseConnection:
    connection = NoiseConnection.from_name(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    connection.set_psks(official("psk"))
    connection.set_prologue(official("prologue"))
    if role == "init":
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, official("init_remote_static"))
    else:
        connection.set_as_responder()
    connection.set_keypair_from_private_bytes(Keypair.STATIC, official(f"{role}_static"))
    connection.set_keypair_from_private_bytes(Keypair.EPHEMERAL, official(f"{role}_ephemeral"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns of a fixed ephemeral key, which is what a vector is
        connection.start_handshake()
    return connection


@pytest.mark.parametrize("role", ["init", "resp"])
def test_noiseprotocol_package(role: str) -> None:
    connection = package_connection(role)
    writes = role == "init"
    for index, (payload, message) in enumerate(official_messages()):
        if index < 2:
            if writes:
                assert bytes(connection.write_message(payload)) == message
            else:
                assert bytes(connection.read_message(message)) == payload
        elif writes:
            assert connection.encrypt(payload) == message
        else:
            assert connection.decrypt(message) == payload
        writes = not writes
    assert connection.get_handshake_hash() == official("handshake_hash")


def test_hyperion_initiator() -> None:
    (payload_1, message_1), (payload_2, message_2) = official_messages()[:2]
    initiator = Initiator(
        static=official("init_static"),
        server_public=official("init_remote_static"),
        psk=official("psk"),
        ephemeral=official("init_ephemeral"),
        payload=payload_1,
        prologue=official("prologue"),
    )
    assert initiator.create_message_1() == message_1
    result = initiator.consume_message_2(message_2)
    assert result.payload == payload_2
    assert result.handshake_hash == official("handshake_hash")
    assert result.peer_public == official("init_remote_static")
    transport(result.send_key, result.receive_key)


def test_hyperion_responder() -> None:
    (payload_1, message_1), (payload_2, message_2) = official_messages()[:2]
    responder = Responder(
        static=official("resp_static"),
        psk=official("psk"),
        ephemeral=official("resp_ephemeral"),
        prologue=official("prologue"),
    )
    assert responder.consume_message_1(message_1) == (public_of(official("init_static")), payload_1)
    sent, result = responder.create_message_2(payload_2)
    assert sent == message_2
    assert result.handshake_hash == official("handshake_hash")
    assert result.peer_public == public_of(official("init_static"))
    transport(result.receive_key, result.send_key)
