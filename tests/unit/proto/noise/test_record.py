"""``proto.noise.record``: lengths, nonces, tags, and records cut anywhere."""

import struct

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.errors import LocalProtocolError, RecordError
from hyperion.proto.noise import record
from hyperion.proto.noise.record import (
    BASE_PLAINTEXT_BYTES,
    LENGTH_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    RecordReader,
    RecordWriter,
)

KEY = bytes(range(32))


def writer(max_plaintext: int = BASE_PLAINTEXT_BYTES) -> RecordWriter:
    return RecordWriter(ChaCha20Poly1305(KEY), max_plaintext)


def reader(max_plaintext: int = BASE_PLAINTEXT_BYTES) -> RecordReader:
    return RecordReader(ChaCha20Poly1305(KEY), max_plaintext)


def empty_record(counter: int = 0) -> bytes:
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return b"\x00\x10" + ChaCha20Poly1305(KEY).encrypt(nonce, b"", None)


def seal(*plaintexts: bytes) -> list[bytes]:
    sealer = writer(MAX_PLAINTEXT_BYTES)
    return [bytes(sealer.seal(memoryview(plaintext))) for plaintext in plaintexts]


class FakeAead:
    """Writes down the nonces it is given."""

    def __init__(self) -> None:
        self.nonces: list[bytes] = []

    def encrypt_into(self, nonce: bytes, data: memoryview, associated_data: None, buf: memoryview, /) -> int:
        self.nonces.append(nonce)
        return len(buf)

    def decrypt(self, nonce: bytes, data: memoryview, associated_data: None, /) -> bytes:
        self.nonces.append(nonce)
        if data[0] == 0xFF:
            raise InvalidTag
        return bytes(data[:-TAG_BYTES])

    def decrypt_into(self, nonce: bytes, data: memoryview, associated_data: None, buf: memoryview, /) -> int:
        buf[:] = self.decrypt(nonce, data, associated_data)
        return len(buf)


def test_the_bytes_of_a_record() -> None:
    sealed = writer().seal(memoryview(b"hello"))
    assert sealed == struct.pack(">H", 21) + ChaCha20Poly1305(KEY).encrypt(bytes(12), b"hello", None)


@pytest.mark.parametrize("size", [1, 2, 12, 16_383, 16_384])
def test_round_trip(size: int) -> None:
    assert reader().receive_data(memoryview(writer().seal(memoryview(bytes(size))))) == [bytes(size)]


def test_the_largest_record() -> None:
    (sealed,) = seal(bytes(MAX_PLAINTEXT_BYTES))
    assert sealed[:2] == b"\xff\xff"
    assert reader(MAX_PLAINTEXT_BYTES).receive_data(memoryview(sealed)) == [bytes(MAX_PLAINTEXT_BYTES)]


@pytest.mark.parametrize("size", [0, BASE_PLAINTEXT_BYTES + 1])
def test_what_is_not_sealed(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        writer().seal(memoryview(bytes(size)))


def test_the_buffer_is_free_after_sealing() -> None:
    sealer, buffer = writer(), bytearray(b"first")
    first = sealer.seal(memoryview(buffer))
    buffer[:] = b"other"
    second = sealer.seal(memoryview(buffer))
    assert reader().receive_data(memoryview(first + second)) == [b"first", b"other"]


@pytest.mark.parametrize("size", [0, 1, 15, BASE_PLAINTEXT_BYTES + TAG_BYTES + 1, 65_535])
@pytest.mark.parametrize("cut", [0, 1])
def test_lengths_that_are_refused(size: int, cut: int) -> None:
    """At the second byte of the length, before anything is gathered."""
    opener, prefix = reader(), size.to_bytes(LENGTH_BYTES, "big")
    assert opener.receive_data(memoryview(prefix[:cut])) == []
    with pytest.raises(RecordError, match=f"a record of {size} bytes"):
        opener.receive_data(memoryview(prefix[cut:]))


def test_an_empty_record_is_taken() -> None:
    assert reader().receive_data(memoryview(empty_record())) == [b""]


@pytest.mark.parametrize("cut", [1, 2, 3, 17, 18, 19, 100])
def test_cut_anywhere(cut: int) -> None:
    plaintexts = [b"a", b"b" * 50, b"c" * 3, b"d" * 16_384]
    wire = b"".join(seal(*plaintexts))
    opener, opened = reader(), []
    for at in range(0, len(wire), cut):
        opened += opener.receive_data(memoryview(wire[at : at + cut]))
        opened += opener.receive_data(memoryview(b""))
    assert opened == plaintexts
    assert not opener.mid_record


def test_mid_record() -> None:
    (sealed,) = seal(b"hello")
    opener = reader()
    for at in range(len(sealed)):
        assert opener.mid_record is (at > 0)
        opener.receive_data(memoryview(sealed[at : at + 1]))
    assert not opener.mid_record


@pytest.mark.parametrize("together", [False, True])
def test_what_opened_before_a_bad_record(together: bool) -> None:
    first, second, third = seal(b"one", b"two", b"three")
    bad = third[:-1] + bytes([third[-1] ^ 1])
    opener, opened = reader(), []
    if not together:
        opened = opener.receive_data(memoryview(first + second))
        first = second = b""
    with pytest.raises(RecordError, match="authenticate"):
        opener.receive_data(memoryview(first + second + bad))
    assert opened + opener.salvaged == [b"one", b"two"]


def test_a_bad_record_says_nothing_of_its_bytes() -> None:
    with pytest.raises(RecordError) as caught:
        reader().receive_data(memoryview(b"\x00\x10" + b"0123456789abcdef"))
    assert caught.value.__cause__ is None
    assert caught.value.reason == "decrypt-failed"
    assert "0123" not in str(caught.value)


def test_nonces_count_up() -> None:
    aead = FakeAead()
    sealer = RecordWriter(aead, BASE_PLAINTEXT_BYTES)
    wire = b"".join(bytes(sealer.seal(memoryview(b"x"))) for _ in range(300))
    assert aead.nonces == [bytes(4) + number.to_bytes(8, "little") for number in range(300)]
    opening = FakeAead()
    RecordReader(opening, BASE_PLAINTEXT_BYTES).receive_data(memoryview(wire))
    assert opening.nonces == aead.nonces


def test_a_failure_does_not_use_up_a_nonce() -> None:
    aead = FakeAead()
    opener = RecordReader(aead, BASE_PLAINTEXT_BYTES)
    with pytest.raises(RecordError):
        opener.receive_data(memoryview(b"\x00\x10" + b"\xff" * 16))
    assert opener.receive_data(memoryview(b"\x00\x11" + bytes(17))) == [b"\x00"]
    assert aead.nonces == [bytes(12)] * 2


def test_the_last_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^64 - 1 is reserved: nothing is sealed or opened with it. (Nobody gets there: the counters are moved.)"""
    assert record._LAST_NONCE == 2**64 - 2
    sealer, opener = RecordWriter(FakeAead(), 10), RecordReader(FakeAead(), 10)
    sealer._counter = opener._counter = 2**64 - 2
    sealed = sealer.seal(memoryview(b"x"))
    assert opener.receive_data(memoryview(sealed)) == [b"\x00"]
    with pytest.raises(LocalProtocolError):
        sealer.seal(memoryview(b"x"))
    with pytest.raises(RecordError, match="nonce"):
        opener.receive_data(memoryview(sealed))


def test_sealing_into_a_buffer_is_sealing() -> None:
    buffer = memoryview(bytearray(100))
    first, second = writer(), writer()
    for text in (b"hello", b"x" * 82):
        assert first.seal_into(memoryview(text), buffer) == second.seal(memoryview(text))
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        first.seal_into(memoryview(b"x" * 83), buffer)
    # a nonce is gone once it was tried
    assert reader()._counter == 0
    assert first._counter == 3


def test_opening_into_room_is_opening() -> None:
    texts = [b"a" * 30, b"e", b"b" * 59, b"c" * 20, b"d" * 5]
    wire = b"".join(seal(*texts))
    room = memoryview(bytearray(100))
    opener = reader()
    opener.open_into(room)
    for cut in (len(wire), 10, 60):
        opener = reader()
        opener.open_into(room)
        found = []
        for start in range(0, len(wire), cut):
            found += [bytes(part) for part in opener.receive_data(memoryview(wire)[start : start + cut])]
        assert found == texts
    opener = reader()
    opener.open_into(room)
    parts = opener.receive_data(memoryview(wire))
    assert [type(part) for part in parts] == [memoryview, memoryview, memoryview, bytes, memoryview]
    assert bytes(room[:95]) == b"a" * 30 + b"e" + b"b" * 59 + b"d" * 5
    broken = reader()
    broken.open_into(room)
    with pytest.raises(RecordError):
        broken.receive_data(memoryview(wire[:-1] + b"?"))
    assert [bytes(part) for part in broken.salvaged] == texts[:-1]


def test_an_idle_reader_owns_nothing() -> None:
    opener = reader(MAX_PLAINTEXT_BYTES)
    first, second = seal(bytes(60_000), bytes(60_000))
    opener.receive_data(memoryview(first[:30_000]))
    opener.receive_data(memoryview(first[30_000:] + second))
    assert len(opener._tail) == 0
    assert opener.salvaged == []
