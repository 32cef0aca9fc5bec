"""Transport records: ``u16 length | ciphertext``, one AEAD call each, a counter for a nonce.

Knows: lengths, nonces, tags. Is handed its AEAD and its limits: it names no cipher, so another one can be negotiated
later. Refuses to know: what is inside. A record boundary means nothing; the plaintext is a byte stream.

Source: WIRE sections 7 and 19; Noise revision 34, section 5.1 (nonces).
"""

import struct
from typing import Protocol

from cryptography.exceptions import InvalidTag

from hyperion.proto.errors import LocalProtocolError, RecordError

#: Bytes of the length in front of each ciphertext.
LENGTH_BYTES = 2
#: Bytes that sealing adds at the end.
TAG_BYTES = 16

#: Largest plaintext of a record, bytes, with a peer that says nothing of extensions (WIRE section 7).
BASE_PLAINTEXT_BYTES = 16_384
#: Largest plaintext that a Noise message can carry, bytes: 65,535 less the tag. Fewer, larger records are faster.
MAX_PLAINTEXT_BYTES = 65_519

#: Noise reserves the nonce 2^64 - 1; a session would need 10^11 years to get there, but the rule is the rule.
_LAST_NONCE = 2**64 - 2

_NONCE = struct.Struct("<IQ")  # 4 zero bytes, then the counter, little-endian
_LENGTH = struct.Struct(">H")


Plaintext = bytes | memoryview


class Aead(Protocol):
    """An AEAD with 96-bit nonces and 16-byte tags, as those of ``cryptography``."""

    def encrypt_into(self, nonce: bytes, data: memoryview, associated_data: None, buf: memoryview, /) -> int: ...

    def decrypt(self, nonce: bytes, data: memoryview, associated_data: None, /) -> bytes: ...

    def decrypt_into(self, nonce: bytes, data: memoryview, associated_data: None, buf: memoryview, /) -> int: ...


class RecordWriter:
    """Seals plaintext into records of at most ``max_plaintext`` bytes of plaintext."""

    __slots__ = ("_counter", "_encrypt_into", "max_plaintext")

    def __init__(self, aead: Aead, max_plaintext: int) -> None:
        self._encrypt_into = aead.encrypt_into
        self._counter = 0
        self.max_plaintext = max_plaintext

    def seal(self, plaintext: memoryview) -> bytearray:
        """One record, in a buffer of its own: the caller's may be used again at once.

        Raises LocalProtocolError if the plaintext is empty or longer than ``max_plaintext``, or no nonce is left.
        """
        record = bytearray(LENGTH_BYTES + len(plaintext) + TAG_BYTES)
        self.seal_into(plaintext, memoryview(record))
        return record

    def seal_into(self, plaintext: memoryview, buffer: memoryview) -> memoryview:
        """One record, at the start of ``buffer``, which has room for it and shares no memory with ``plaintext``.

        Raises as ``seal``.
        """
        size = len(plaintext)
        counter = self._counter
        if not 0 < size <= self.max_plaintext or counter > _LAST_NONCE:
            raise LocalProtocolError(f"cannot seal a record of {size} bytes")
        end = LENGTH_BYTES + size + TAG_BYTES
        self._counter = counter + 1  # before: whatever happens, no nonce is used twice
        _LENGTH.pack_into(buffer, 0, size + TAG_BYTES)
        self._encrypt_into(_NONCE.pack(0, counter), plaintext, None, buffer[LENGTH_BYTES:end])
        return buffer[:end]


class RecordReader:
    """Finds records in a byte stream and opens them. After an error it must not be used again."""

    __slots__ = ("_counter", "_decrypt", "_decrypt_into", "_max_ciphertext", "_room", "_tail", "_used", "salvaged")

    def __init__(self, aead: Aead, max_plaintext: int) -> None:
        self._decrypt = aead.decrypt
        self._decrypt_into = aead.decrypt_into
        self._room: memoryview | None = None
        self._used = 0
        self._counter = 0
        self._max_ciphertext = max_plaintext + TAG_BYTES
        self._tail = bytearray()  # an unfinished record; empty most of the time, so an idle connection owns nothing
        #: after an error: what opened in that call before the bad record. They are as good as if they had come alone.
        self.salvaged: list[Plaintext] = []

    def open_into(self, room: memoryview) -> None:
        """From now on plaintexts lie in ``room``, until the next call of ``receive_data``; what does not fit, and all
        before this call, is memory of its own."""
        self._room = room

    def receive_data(self, data: memoryview) -> list[Plaintext]:
        """The plaintexts of all records that are now complete.

        Raises RecordError: the stream is lost then, but for what is ``salvaged``.
        """
        plaintexts: list[Plaintext] = []
        self._used = 0
        try:
            self._open_all(data, plaintexts)
        except RecordError:
            self.salvaged = plaintexts
            raise
        return plaintexts

    @property
    def mid_record(self) -> bool:
        """True while an unfinished record is held: an end of the TCP stream now is a truncation."""
        return bool(self._tail)

    def _open_all(self, data: memoryview, plaintexts: list[Plaintext]) -> None:
        position = self._finish_tail(data, plaintexts) if self._tail else 0
        end = len(data)
        while end - position >= LENGTH_BYTES:
            size = data[position] << 8 | data[position + 1]
            if not TAG_BYTES <= size <= self._max_ciphertext:
                raise RecordError(f"a record of {size} bytes is not allowed")
            stop = position + LENGTH_BYTES + size
            if stop > end:
                break
            plaintexts.append(self._open(data[position + LENGTH_BYTES : stop]))
            position = stop
        if position < end:
            self._tail += data[position:]

    def _finish_tail(self, data: memoryview, plaintexts: list[Plaintext]) -> int:
        """Complete the record begun by earlier data; return how much of ``data`` that took.

        Only the one broken record is copied together; the rest of ``data`` is opened where it lies.
        """
        tail = self._tail
        taken = 0
        if len(tail) < LENGTH_BYTES:
            taken = min(LENGTH_BYTES - len(tail), len(data))
            tail += data[:taken]
            if len(tail) < LENGTH_BYTES:
                return taken
        size = tail[0] << 8 | tail[1]
        if not TAG_BYTES <= size <= self._max_ciphertext:
            raise RecordError(f"a record of {size} bytes is not allowed")
        missing = LENGTH_BYTES + size - len(tail)
        tail += data[taken : taken + missing]
        taken = min(taken + missing, len(data))
        if len(tail) == LENGTH_BYTES + size:
            self._tail = bytearray()
            plaintexts.append(self._open(memoryview(tail)[LENGTH_BYTES:]))
        return taken

    def _open(self, ciphertext: memoryview) -> Plaintext:
        counter = self._counter
        if counter > _LAST_NONCE:
            raise RecordError("no nonce is left")
        nonce = _NONCE.pack(0, counter)
        start, end = self._used, self._used + len(ciphertext) - TAG_BYTES
        plaintext: Plaintext
        try:
            if self._room is None or end > len(self._room):
                plaintext = self._decrypt(nonce, ciphertext, None)
            else:
                plaintext = self._room[start:end]
                self._decrypt_into(nonce, ciphertext, None, plaintext)
                self._used = end
        except InvalidTag:
            raise RecordError("a record did not authenticate") from None
        self._counter = counter + 1
        return plaintext
