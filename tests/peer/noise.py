"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s by hand, both roles (Noise specification, revision 34).

Knows the two handshake messages and the keys they end in. Refuses to know sockets, framing and what the payloads mean.
Ephemeral secrets are arguments, so a handshake can be replayed byte for byte.
"""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NAME = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
#: ASCII ``hyperion-vpn`` and the protocol version as a big-endian u16.
PROLOGUE = b"hyperion-vpn\x00\x01"
KEY_BYTES = 32
TAG_BYTES = 16


class PeerHandshakeError(Exception):
    """A handshake message did not verify."""


@dataclass(frozen=True)
class SessionKeys:
    """What a handshake leaves behind: one key per direction, the channel binding, and the initiator's identity."""

    client_to_server: bytes
    server_to_client: bytes
    handshake_hash: bytes
    initiator_public: bytes


def blake2s(data: bytes) -> bytes:
    """Unkeyed BLAKE2s-256."""
    return hashlib.blake2s(data).digest()


def hmac_blake2s(key: bytes, data: bytes) -> bytes:
    """HMAC over unkeyed BLAKE2s (block size 64): not keyed BLAKE2s."""
    return hmac.new(key, data, hashlib.blake2s).digest()


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """The HKDF of Noise, section 4.3: ``outputs`` blocks of 32 bytes."""
    temporary = hmac_blake2s(chaining_key, material)
    blocks = [b""]
    for number in range(1, outputs + 1):
        blocks.append(hmac_blake2s(temporary, blocks[-1] + bytes([number])))
    return blocks[1:]


def public_of(secret: bytes) -> bytes:
    """X25519 public key of 32 raw secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def diffie_hellman(secret: bytes, public: bytes) -> bytes:
    """X25519. Raises ``PeerHandshakeError`` for a low-order point (all-zero result)."""
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise PeerHandshakeError("low-order point") from error


def nonce_of(counter: int) -> bytes:
    """96-bit nonce of ChaChaPoly: four zero bytes and the counter, little-endian."""
    return bytes(4) + counter.to_bytes(8, "little")


class Symmetric:
    """SymmetricState and its CipherState, section 5.1 and 5.2."""

    def __init__(self, prologue: bytes) -> None:
        self.hash = blake2s(NAME)  # the name is 37 bytes, longer than a hash: hashed, not padded
        self.chaining_key = self.hash
        self._key = b""
        self._counter = 0
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data)

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, self._key = hkdf(self.chaining_key, material, 2)
        self._counter = 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self.chaining_key, hashed, self._key = hkdf(self.chaining_key, material, 3)
        self.mix_hash(hashed)
        self._counter = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = ChaCha20Poly1305(self._key).encrypt(nonce_of(self._counter), plaintext, self.hash)
        self._counter += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self._key).decrypt(nonce_of(self._counter), ciphertext, self.hash)
        except InvalidTag as error:
            raise PeerHandshakeError("tag does not verify") from error
        self._counter += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self, initiator_public: bytes) -> SessionKeys:
        first, second = hkdf(self.chaining_key, b"", 2)
        return SessionKeys(first, second, self.hash, initiator_public)


class InitiatorHandshake:
    """The client: ``write_1`` then ``read_2``."""

    def __init__(self, static: bytes, server_public: bytes, psk: bytes, ephemeral: bytes, prologue: bytes = PROLOGUE):
        self._static, self._server_public, self._psk, self._ephemeral = static, server_public, psk, ephemeral
        self._state = Symmetric(prologue)
        self._state.mix_hash(server_public)

    def write_1(self, payload: bytes = b"") -> bytes:
        """Message 1: e, es, s, ss. A PSK pattern mixes ``e`` into the key as well as into the hash."""
        state, ephemeral_public = self._state, public_of(self._ephemeral)
        state.mix_hash(ephemeral_public)
        state.mix_key(ephemeral_public)
        state.mix_key(diffie_hellman(self._ephemeral, self._server_public))
        sealed_static = state.encrypt_and_hash(public_of(self._static))
        state.mix_key(diffie_hellman(self._static, self._server_public))
        return ephemeral_public + sealed_static + state.encrypt_and_hash(payload)

    def read_2(self, message: bytes) -> tuple[bytes, SessionKeys]:
        """Message 2: e, ee, se, psk. Gives the payload and the keys."""
        if len(message) < KEY_BYTES + TAG_BYTES:
            raise PeerHandshakeError("message 2 is too short")
        state, remote = self._state, message[:KEY_BYTES]
        state.mix_hash(remote)
        state.mix_key(remote)
        state.mix_key(diffie_hellman(self._ephemeral, remote))
        state.mix_key(diffie_hellman(self._static, remote))
        state.mix_key_and_hash(self._psk)
        payload = state.decrypt_and_hash(message[KEY_BYTES:])
        return payload, state.split(public_of(self._static))


class ResponderHandshake:
    """The server: ``read_1``, a look at the initiator's key, ``write_2``."""

    def __init__(self, static: bytes, psk: bytes, ephemeral: bytes, prologue: bytes = PROLOGUE):
        self._static, self._psk, self._ephemeral = static, psk, ephemeral
        self._state = Symmetric(prologue)
        self._state.mix_hash(public_of(static))
        self._remote_ephemeral = b""
        self.initiator_public = b""

    def read_1(self, message: bytes) -> bytes:
        """Message 1; gives its payload and sets ``initiator_public``."""
        if len(message) < KEY_BYTES + KEY_BYTES + 2 * TAG_BYTES:
            raise PeerHandshakeError("message 1 is too short")
        state, self._remote_ephemeral = self._state, message[:KEY_BYTES]
        sealed_static, sealed_payload = message[32:80], message[80:]
        state.mix_hash(self._remote_ephemeral)
        state.mix_key(self._remote_ephemeral)
        state.mix_key(diffie_hellman(self._static, self._remote_ephemeral))
        self.initiator_public = state.decrypt_and_hash(sealed_static)
        state.mix_key(diffie_hellman(self._static, self.initiator_public))
        return state.decrypt_and_hash(sealed_payload)

    def write_2(self, payload: bytes = b"") -> tuple[bytes, SessionKeys]:
        """Message 2 and the keys. The PSK enters here for the first time."""
        state, ephemeral_public = self._state, public_of(self._ephemeral)
        state.mix_hash(ephemeral_public)
        state.mix_key(ephemeral_public)
        state.mix_key(diffie_hellman(self._ephemeral, self._remote_ephemeral))
        state.mix_key(diffie_hellman(self._ephemeral, self.initiator_public))
        state.mix_key_and_hash(self._psk)
        message = ephemeral_public + state.encrypt_and_hash(payload)
        return message, state.split(self.initiator_public)
