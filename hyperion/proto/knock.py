"""The knock: one UDP datagram of 44 bytes that asks a server to open its tunnel port to the sender.

Knows: the bytes, their seal, whose key opened it. Refuses to know: clocks, what was seen before (``replay``), sockets,
firewalls. A datagram gets a verdict, never an exception: junk is the normal case here, not the exceptional one.

Layout: ``HVPK`` | nonce 12 | sealed payload 12 | tag 16. The payload is version u16, Unix seconds u64, port u16, all
big-endian. Source: WIRE section 4.
"""

import enum
import hashlib
import hmac
import struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.errors import LocalProtocolError

# --- specification constants

MAGIC = b"HVPK"
KNOCK_BYTES = 44
NONCE_BYTES = 12
KNOCK_VERSION = 1
#: Keeps the knock key apart from every other use of the PSK.
KEY_LABEL = b"hyperion-vpn knock key v1"

_NONCE_END = len(MAGIC) + NONCE_BYTES
_PAYLOAD = struct.Struct(">HQH")
_MAX_TIMESTAMP = 2**64 - 1
_MAX_PORT = 2**16 - 1


class Verdict(enum.Enum):
    """What a datagram is worth. The values are stable words for logs (``event.reason``)."""

    ACCEPTED = "accepted"
    WRONG_LENGTH = "wrong-length"
    WRONG_MAGIC = "wrong-magic"
    NOT_AUTHENTIC = "not-authentic"
    WRONG_VERSION = "wrong-version"
    STALE = "stale"
    REPLAYED = "replayed"
    MEMORY_FULL = "memory-full"
    WRONG_PORT = "wrong-port"


class Knock(msgspec.Struct, frozen=True):
    """An authentic knock: by whom, when (Unix seconds), for which TCP port."""

    holder: str
    timestamp: int
    port: int
    nonce: bytes

    def verdict_for(self, tunnel_port: int) -> Verdict:
        """A knock opens the one tunnel port and no other. Judge this last: the nonce is spent either way."""
        return Verdict.ACCEPTED if self.port == tunnel_port else Verdict.WRONG_PORT


class KnockTable:
    """Which keys open knocks for this server, and who holds each. One row today: the key derived from the PSK.

    Every datagram of the right form is tried against every row, about 4 us each; keep it short.
    """

    __slots__ = ("_associated_data", "_rows")

    def __init__(self, server_public: bytes, keys: dict[str, bytes]) -> None:
        self._associated_data = MAGIC + server_public
        self._rows = tuple((holder, ChaCha20Poly1305(key)) for holder, key in keys.items())

    def find(self, nonce: bytes, sealed: bytes) -> tuple[str, bytes] | None:
        """The holder whose key opens ``sealed`` and the payload, None if nobody's does."""
        for holder, aead in self._rows:
            try:
                return holder, aead.decrypt(nonce, sealed, self._associated_data)
            except InvalidTag:
                continue
        return None


def derive_knock_key(psk: bytes) -> bytes:
    """The first output of Noise's HKDF with the label as chaining key. HMAC, not keyed BLAKE2s."""
    temporary = hmac.new(KEY_LABEL, psk, hashlib.blake2s).digest()
    return hmac.new(temporary, b"\x01", hashlib.blake2s).digest()


def seal(key: bytes, server_public: bytes, timestamp: int, port: int, nonce: bytes) -> bytes:
    """The 44 bytes of a knock.

    ``key`` comes from ``derive_knock_key``; ``nonce`` is 12 fresh random bytes for each knock; ``timestamp`` is Unix
    seconds by the server's clock, as well as it is known. Raises LocalProtocolError for a value that does not fit.
    """
    if len(nonce) != NONCE_BYTES or not 0 <= timestamp <= _MAX_TIMESTAMP or not 0 <= port <= _MAX_PORT:
        raise LocalProtocolError(f"no knock for time {timestamp}, port {port}, a nonce of {len(nonce)} bytes")
    payload = _PAYLOAD.pack(KNOCK_VERSION, timestamp, port)
    return MAGIC + nonce + ChaCha20Poly1305(key).encrypt(nonce, payload, MAGIC + server_public)


def open_knock(datagram: bytes, table: KnockTable) -> tuple[Verdict, Knock | None]:
    """Judge a datagram by its bytes alone: steps 1 to 4 of WIRE section 4.5.

    The Knock comes with ACCEPTED only. Then ask ``ReplayGuard.judge``, then ``Knock.verdict_for``.
    """
    if len(datagram) != KNOCK_BYTES:
        return Verdict.WRONG_LENGTH, None
    if not datagram.startswith(MAGIC):
        return Verdict.WRONG_MAGIC, None
    nonce = datagram[len(MAGIC) : _NONCE_END]
    found = table.find(nonce, datagram[_NONCE_END:])
    if found is None:
        return Verdict.NOT_AUTHENTIC, None
    holder, payload = found
    version, timestamp, port = _PAYLOAD.unpack(payload)
    if version != KNOCK_VERSION:
        return Verdict.WRONG_VERSION, None
    return Verdict.ACCEPTED, Knock(holder, timestamp, port, nonce)
