"""The two messages of ``Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s``, by the ``noiseprotocol`` package, wrapped.

Knows: the pattern, Hyperion's prologue, and every way in which the package fails. It alone touches chaining keys, so a
later hybrid secret is mixed in here and nowhere else. Refuses to know: sockets, lengths on the wire, who is allowed.

The package leaks many kinds of exceptions on hostile input, forgets the peer's key once the handshake ended, and must
not be used again after a failure; the wrapper gives one error, keeps the key, and a failed object is simply dropped.

Source: Noise revision 34; WIRE section 6.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from noise.backends.default import noise_backend
from noise.backends.default.keypairs import KeyPair25519
from noise.exceptions import (
    NoiseHandshakeError,
    NoiseInvalidMessage,
    NoisePSKError,
    NoiseValidationError,
    NoiseValueError,
)
from noise.noise_protocol import NoiseProtocol

from hyperion.proto.errors import HandshakeError

PROTOCOL_NAME = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"

#: Version of the protocol. A peer with another version fails the handshake; it is never negotiated down.
PROTOCOL_VERSION = 1
PROLOGUE = b"hyperion-vpn" + PROTOCOL_VERSION.to_bytes(2, "big")

#: Length of every key, bytes; message 1 and 2 begin with an ephemeral public key.
KEY_BYTES = 32

#: Shortest messages, bytes, with an empty payload: e 32 + static 48 + tag 16, and e 32 + tag 16.
MESSAGE_1_MIN_BYTES = 96
MESSAGE_2_MIN_BYTES = 48

#: Longest handshake message taken or sent, bytes. Small, because it is read from peers that have proven nothing.
MESSAGE_MAX_BYTES = 4096

# Everything that the package and cryptography raise on bad input: a bad tag, a short ephemeral, a low-order point
# ("Error computing shared key" is a ValueError), and its own complaints.
_REFUSALS = (
    InvalidTag,
    ValueError,
    NoiseHandshakeError,
    NoiseInvalidMessage,
    NoisePSKError,
    NoiseValidationError,
    NoiseValueError,
)


class HandshakeResult(msgspec.Struct, frozen=True):
    """What a finished handshake leaves: one key for each direction, the channel binding, the peer's identity and
    payload."""

    send_key: bytes
    receive_key: bytes
    handshake_hash: bytes
    peer_public: bytes
    payload: bytes

    def __repr__(self) -> str:
        return f"HandshakeResult(payload={len(self.payload)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("payload_bytes", len(self.payload))]


def _protocol(
    *, initiator: bool, static: bytes, psk: bytes, ephemeral: bytes, prologue: bytes, server_public: bytes | None
) -> NoiseProtocol:
    """A package object ready for its first message. The ephemeral is set after ``validate``, which would warn of it."""
    protocol = NoiseProtocol(protocol_name=PROTOCOL_NAME, backend=noise_backend)
    protocol.psks = [psk]
    protocol.prologue = prologue
    protocol.initiator = initiator
    protocol.keypairs["s"] = KeyPair25519.from_private_bytes(static)
    if server_public is not None:
        protocol.keypairs["rs"] = KeyPair25519.from_public_bytes(server_public)
    protocol.validate()
    protocol.keypairs["e"] = KeyPair25519.from_private_bytes(ephemeral)
    protocol.initialise_handshake_state()
    return protocol


def _result(protocol: NoiseProtocol, peer_public: bytes, payload: bytes) -> HandshakeResult:
    return HandshakeResult(
        send_key=bytes(protocol.cipher_state_encrypt.k),
        receive_key=bytes(protocol.cipher_state_decrypt.k),
        handshake_hash=bytes(protocol.handshake_hash),
        peer_public=peer_public,
        payload=payload,
    )


def _read(read_message: Callable[[bytes, bytearray], object], message: bytes, reason: str) -> bytes:
    """Read one message; everything that can go wrong becomes one error that says nothing of the peer's bytes."""
    payload = bytearray()
    try:
        read_message(message, payload)
    except _REFUSALS as error:
        raise HandshakeError(f"handshake message refused ({type(error).__name__})", reason=reason) from None
    return bytes(payload)


class Initiator:
    """The client's side. ``ephemeral`` is 32 fresh random bytes, used for this one handshake only."""

    def __init__(
        self,
        *,
        static: bytes,
        server_public: bytes,
        psk: bytes,
        ephemeral: bytes,
        payload: bytes = b"",
        prologue: bytes = PROLOGUE,
    ) -> None:
        self._server_public = server_public
        self._payload = payload
        self._protocol = _protocol(
            initiator=True, static=static, psk=psk, ephemeral=ephemeral, prologue=prologue, server_public=server_public
        )

    def create_message_1(self) -> bytes:
        """Message 1: proves our static key to the server. Its payload is replayable: parameters only.

        Raises HandshakeError if the server's public key is no usable point.
        """
        message = bytearray()
        try:
            self._protocol.handshake_state.write_message(self._payload, message)
        except _REFUSALS:
            raise HandshakeError("the server's public key is not usable", reason="bad-server-key") from None
        return bytes(message)

    def consume_message_2(self, message: bytes) -> HandshakeResult:
        """Message 2: proves the server's key and the PSK.

        Raises HandshakeError (reason ``bad-psk``: the usual cause).
        """
        if len(message) < MESSAGE_2_MIN_BYTES:
            raise HandshakeError("message 2 is too short", reason="malformed")
        payload = _read(self._protocol.handshake_state.read_message, message, "bad-psk")
        return _result(self._protocol, self._server_public, payload)


class Responder:
    """The server's side. The caller decides on the client's key between the two calls."""

    def __init__(self, *, static: bytes, psk: bytes, ephemeral: bytes, prologue: bytes = PROLOGUE) -> None:
        self._initiator_public = b""
        self._protocol = _protocol(
            initiator=False, static=static, psk=psk, ephemeral=ephemeral, prologue=prologue, server_public=None
        )

    def consume_message_1(self, message: bytes) -> tuple[bytes, bytes]:
        """Return the client's static public key and its payload.

        Neither freshness nor the PSK is proven yet: message 1 can be a replay. Raises HandshakeError.
        """
        if len(message) < MESSAGE_1_MIN_BYTES:
            raise HandshakeError("message 1 is too short", reason="malformed")
        payload = _read(self._protocol.handshake_state.read_message, message, "malformed")
        self._initiator_public = bytes(self._protocol.handshake_state.rs.public_bytes)
        return self._initiator_public, payload

    def create_message_2(self, payload: bytes = b"") -> tuple[bytes, HandshakeResult]:
        """Message 2 and the session keys. Raises HandshakeError on a low-order point of the client."""
        message = bytearray()
        try:
            self._protocol.handshake_state.write_message(payload, message)
        except _REFUSALS as error:
            raise HandshakeError(f"handshake message refused ({type(error).__name__})", reason="malformed") from None
        return bytes(message), _result(self._protocol, self._initiator_public, b"")
