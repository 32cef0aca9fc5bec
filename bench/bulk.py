"""Bulk transfers: the service's end and the load's end of one connection, on blocking sockets with large buffers.

The conversation: the load sends a header (operation, whether to hash, size). Upload: then the bytes; the service
answers with a digest once it has read them all, so the clock stops at arrival and not in a send buffer. Download: the
service sends the digest of what comes, worked out before, then the bytes. Without hashing the digest is zeros: a figure
on speed must not pay for SHA-256, a proof of correctness must.
"""

import enum
import hashlib
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from bench import payload

Address = tuple[str, int]

#: Called with the bytes moved so far.
Progress = Callable[[int], None]

#: Bytes asked for in one read.
READ_BYTES = 256 * 1024

#: Seconds without a byte moving after which a transfer has failed.
STALL_TIMEOUT = 30.0

#: Largest transfer: a wrong header must not ask for the moon.
MAX_SIZE = 1 << 42

#: What the endless download prints once bytes come.
FLOWING = "flowing"

NO_DIGEST = bytes(payload.DIGEST_BYTES)

_HEADER = struct.Struct(">cBQ")


class Operation(enum.Enum):
    """First byte of the header. The direction is seen from the load."""

    UPLOAD = b"U"
    DOWNLOAD = b"D"


class TransferError(Exception):
    """Bytes were lost, altered or never came."""


class NothingAskedError(TransferError):
    """The connection ended without a word: somebody looked whether the port is open."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the load asks for."""

    operation: Operation
    hashed: bool
    size: int

    def encode(self) -> bytes:
        return _HEADER.pack(self.operation.value, self.hashed, self.size)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises TransferError on anything ``encode`` does not make."""
        operation, hashed, size = _HEADER.unpack(data)
        if operation not in {each.value for each in Operation} or hashed > 1 or size > MAX_SIZE:
            raise TransferError(f"not a header: {data.hex()}")
        return cls(Operation(operation), bool(hashed), size)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one transfer did. ``seconds`` run from the first byte asked for to the last one known to have arrived."""

    size: int
    seconds: float
    sent_digest: str
    received_digest: str

    @property
    def megabytes_per_second(self) -> float:
        return self.size / self.seconds / 1e6


def upload(address: Address, size: int, *, hashed: bool = False, progress: Progress | None = None) -> Transfer:
    """Send ``size`` bytes. Raises TransferError if another hash arrived, OSError if the connection broke."""
    sent_digest = payload.digest(size) if hashed else NO_DIGEST
    with connect(address) as connection:
        start = time.perf_counter()
        connection.sendall(Header(Operation.UPLOAD, hashed, size).encode())
        send_blocks(connection, size, progress)
        received_digest = read_exactly(connection, payload.DIGEST_BYTES)
        seconds = time.perf_counter() - start
    return checked(Transfer(size, seconds, sent_digest.hex(), received_digest.hex()))


def download(address: Address, size: int, *, hashed: bool = False, progress: Progress | None = None) -> Transfer:
    """Fetch ``size`` bytes; errors as ``upload``."""
    with connect(address) as connection:
        connection.sendall(Header(Operation.DOWNLOAD, hashed, size).encode())
        sent_digest = read_exactly(connection, payload.DIGEST_BYTES)
        start = time.perf_counter()
        received_digest = receive(connection, size, hashed=hashed, progress=progress)
        seconds = time.perf_counter() - start
    return checked(Transfer(size, seconds, sent_digest.hex(), received_digest.hex()))


def serve(connection: socket.socket) -> None:
    """The service's end of one connection. Raises TransferError on a bad header, OSError if the load went away."""
    connection.settimeout(STALL_TIMEOUT)
    first = connection.recv(1)
    if not first:
        raise NothingAskedError
    header = Header.decode(first + read_exactly(connection, _HEADER.size - 1))
    if header.operation is Operation.UPLOAD:
        connection.sendall(receive(connection, header.size, hashed=header.hashed))
    else:
        connection.sendall(payload.digest(header.size) if header.hashed else NO_DIGEST)
        send_blocks(connection, header.size)


def connect(address: Address) -> socket.socket:
    """A connected socket on which nothing waits for ever."""
    connection = socket.create_connection(address, STALL_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send_blocks(connection: socket.socket, size: int, progress: Progress | None = None) -> None:
    sent = 0
    for block in payload.blocks(size):
        connection.sendall(block)
        sent += len(block)
        if progress is not None:
            progress(sent)


def receive(connection: socket.socket, size: int, *, hashed: bool, progress: Progress | None = None) -> bytes:
    """Read ``size`` bytes and return their digest. Raises TransferError when the stream ends early."""
    digest = hashlib.sha256()
    received = 0
    for part in parts(connection, size):
        received += len(part)
        if hashed:
            digest.update(part)
        if progress is not None:
            progress(received)
    return digest.digest() if hashed else NO_DIGEST


def parts(connection: socket.socket, size: int) -> Iterator[memoryview]:
    """Views of the next ``size`` bytes as they come; each is overwritten by the next."""
    buffer = memoryview(bytearray(READ_BYTES))
    missing = size
    while missing:
        count = connection.recv_into(buffer[: min(missing, READ_BYTES)])
        if not count:
            raise TransferError(f"the stream ended {missing} of {size} bytes early")
        missing -= count
        yield buffer[:count]


def read_exactly(connection: socket.socket, size: int) -> bytes:
    return b"".join(bytes(part) for part in parts(connection, size))


def checked(transfer: Transfer) -> Transfer:
    if transfer.sent_digest != transfer.received_digest:
        raise TransferError(f"hash sent {transfer.sent_digest}, hash received {transfer.received_digest}")
    return transfer


def download_for_ever(port: int) -> None:
    """``python -m bench.bulk PORT``: say ``FLOWING`` once bytes come, and take them until the process is ended."""
    with connect(("127.0.0.1", port)) as connection:
        connection.sendall(Header(Operation.DOWNLOAD, False, MAX_SIZE).encode())
        read_exactly(connection, payload.DIGEST_BYTES + READ_BYTES)
        print(FLOWING, flush=True)
        for _ in parts(connection, MAX_SIZE - READ_BYTES):
            continue


if __name__ == "__main__":
    download_for_ever(int(sys.argv[1]))
