"""Transport records: a big-endian u16 length, then ChaCha20-Poly1305 with a counter nonce per direction.

Knows one direction at a time. Refuses to know what the plaintext is.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.peer.noise import nonce_of

TAG_BYTES = 16
LENGTH_BYTES = 2
#: Largest plaintext of a record in plain version 1.
PLAIN_RECORD_BYTES = 16_384
#: Largest plaintext two newer peers can agree on: 65,535 minus the tag.
LARGE_RECORD_BYTES = 65_519


class PeerRecordError(Exception):
    """A record had a forbidden length or did not authenticate."""


class RecordWriter:
    """Seals plaintext into records of at most ``limit`` plaintext bytes."""

    def __init__(self, key: bytes, limit: int = PLAIN_RECORD_BYTES) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self.limit = limit
        self.counter = 0

    def seal(self, plaintext: bytes) -> bytes:
        """One record, whatever its size (a test may exceed the limit on purpose)."""
        ciphertext = self._cipher.encrypt(nonce_of(self.counter), plaintext, None)
        self.counter += 1
        return len(ciphertext).to_bytes(LENGTH_BYTES, "big") + ciphertext

    def seal_all(self, plaintext: bytes) -> bytes:
        """As many full records as it takes."""
        parts = (plaintext[at : at + self.limit] for at in range(0, len(plaintext), self.limit))
        return b"".join(self.seal(part) for part in parts)


class RecordReader:
    """Opens records from a byte stream, ``limit`` plaintext bytes at most each."""

    def __init__(self, key: bytes, limit: int = PLAIN_RECORD_BYTES) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._buffer = bytearray()
        self.limit = limit
        self.counter = 0
        #: plaintext sizes as they came, for tests that look at the sender's habits
        self.sizes: list[int] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Plaintexts of all records that are complete now."""
        self._buffer += data
        opened = []
        while (record := self._next_record()) is not None:
            opened.append(self._open(record))
        return opened

    @property
    def in_record(self) -> bool:
        """True when the stream stands inside a record body: an end of file here is a truncation."""
        return len(self._buffer) >= LENGTH_BYTES

    def _next_record(self) -> bytes | None:
        if len(self._buffer) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if not TAG_BYTES <= length <= self.limit + TAG_BYTES:
            raise PeerRecordError(f"record of {length} bytes")
        if len(self._buffer) < LENGTH_BYTES + length:
            return None
        record = bytes(self._buffer[LENGTH_BYTES : LENGTH_BYTES + length])
        del self._buffer[: LENGTH_BYTES + length]
        return record

    def _open(self, record: bytes) -> bytes:
        try:
            plaintext = self._cipher.decrypt(nonce_of(self.counter), record, None)
        except InvalidTag as error:
            raise PeerRecordError(f"record {self.counter} does not authenticate") from error
        self.counter += 1
        self.sizes.append(len(plaintext))
        return plaintext
