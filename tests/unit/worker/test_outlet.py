"""The way out of a tunnel: order, memory that is used again, and no descriptor kept too long."""

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hyperion.worker.connection import as_transport
from hyperion.worker.outlet import Outlet
from tests.helpers.rig import noise, until

pytestmark = pytest.mark.both_loops


class Reader(asyncio.BufferedProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(1000))
        self.reads: list[bytes] = []
        self.ended = False
        self.outlet: Outlet | None = None
        self.fault: Exception | None = None
        self.lost: list[Exception | None] = []

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.reads.append(bytes(self.buffer[:nbytes]))
        if self.outlet is not None and nbytes == len(self.buffer):
            self.outlet.let_others_read()

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Ends:
    """An outlet, and the socket at the other end."""

    def __init__(self, transport: asyncio.Transport, reader: Reader, peer: socket.socket) -> None:
        self.transport = transport
        self.reader = reader
        self.outlet = Outlet(transport)
        self.peer = peer

    def share(self) -> None:
        self.outlet.share(self.reader, self.reader.buffer)

    async def read(self, size: int) -> bytes:
        """So many bytes, or to the end of file."""
        loop = asyncio.get_running_loop()
        data = bytearray()
        async with asyncio.timeout(10):
            while len(data) < size and (part := await loop.sock_recv(self.peer, size - len(data))):
                data += part
        return bytes(data)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock = socket.create_connection(listener.getsockname())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        peer = listener.accept()[0]
    peer.setblocking(False)
    transport, reader = await asyncio.get_running_loop().create_connection(Reader, sock=sock)
    made = Ends(as_transport(transport), reader, peer)
    yield made
    if not made.transport.is_closing():
        made.outlet.abort()
    peer.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("shared", [True, False])
async def test_order_is_kept_whatever_the_kernel_takes(ends: Ends, *, shared: bool) -> None:
    if shared:
        ends.share()
        ends.share()  # once is enough
    data = noise(3_000_000)
    buffer = memoryview(bytearray(70_000))
    waited = 0
    for number, start in enumerate(range(0, len(data), 70_000)):
        part = data[start : start + 70_000]
        if number % 3:
            buffer[: len(part)] = part
            ends.outlet.write_from_buffer(buffer[: len(part)])
            buffer[:] = bytes(len(buffer))
        else:
            ends.outlet.write(part)
        waited = max(waited, ends.outlet.waiting_bytes)
        await asyncio.sleep(0)
    assert waited > 0
    ends.outlet.close()
    assert await ends.read(4_000_000) == data


async def test_what_the_kernel_takes_does_not_wait(ends: Ends) -> None:
    ends.share()
    ends.outlet.write(b"at once")
    assert ends.outlet.waiting_bytes == 0
    assert ends.peer.recv(100) == b"at once"


@pytest.mark.parametrize("how", ["close", "abort", "let_go"])
async def test_the_end_is_seen_at_once(ends: Ends, how: str) -> None:
    """The second descriptor must not keep the connection alive."""
    before = len(os.listdir("/proc/self/fd"))
    ends.share()
    getattr(ends.outlet, how)()
    getattr(ends.outlet, how)()
    if how == "let_go":
        ends.transport.abort()
    assert await ends.read(1) == b""
    await until(lambda: len(os.listdir("/proc/self/fd")) < before)
    ends.share()  # too late


async def test_a_broken_connection_is_the_transport_s_to_find(ends: Ends) -> None:
    ends.share()
    ends.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    ends.peer.close()
    async with asyncio.timeout(10):
        while not ends.transport.is_closing():
            ends.outlet.write(b"x")
            await asyncio.sleep(0.01)
    ends.outlet.let_go()


async def test_without_a_descriptor_it_goes_the_other_way(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: int) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", none_left)
    ends.share()
    ends.outlet.write(b"slowly")
    assert await ends.read(6) == b"slowly"


class _Unwatching:
    """A loop that watches nothing more."""

    def add_reader(self, *_: object) -> None:
        raise OSError(28, "No space left on device")


async def test_without_room_to_watch_the_transport_reads_on(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(ends.outlet, "_loop", _Unwatching())
    ends.share()
    assert len(os.listdir("/proc/self/fd")) == before
    ends.outlet.write(b"slowly")
    assert await ends.read(6) == b"slowly"
    ends.peer.send(b"and heard")
    await until(lambda: ends.reader.reads == [b"and heard"])


@pytest.mark.parametrize("shared", [True, False])
async def test_others_read_between_two_full_buffers(ends: Ends, *, shared: bool) -> None:
    """Also if the system has no second descriptor to give, or the peer is not worth it."""
    turns: list[int] = []
    reader = ends.reader

    def note() -> None:
        turns.append(len(reader.reads))
        if sum(map(len, reader.reads)) < 5000:
            asyncio.get_running_loop().call_soon(note)

    reader.outlet = ends.outlet
    if shared:
        ends.share()
    data = noise(5000)
    ends.peer.send(data)
    note()
    await until(lambda: sum(map(len, reader.reads)) == 5000)
    assert b"".join(reader.reads) == data
    assert max(after - before for before, after in itertools.pairwise(turns)) == 1


@pytest.mark.parametrize("shared", [True, False])
async def test_who_rests_reads_nothing_before_he_reads_on(ends: Ends, *, shared: bool) -> None:
    if shared:
        ends.share()
    ends.outlet.let_others_read()  # would go on by itself in the next turn
    ends.outlet.rest()
    ends.peer.send(b"x" * 100)
    ends.peer.shutdown(socket.SHUT_WR)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert ends.reader.reads == []
    assert not ends.reader.ended
    ends.outlet.read_on()
    await until(lambda: ends.reader.ended)
    assert ends.reader.reads == [b"x" * 100]


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_end_of_one_who_rests(ends: Ends, how: str) -> None:
    ends.share()
    ends.outlet.rest()
    getattr(ends.outlet, how)()
    ends.outlet.read_on()
    await until(lambda: ends.reader.lost)


async def test_the_end_of_file_closes_it_once(ends: Ends) -> None:
    ends.share()
    ends.peer.send(b"last words")
    ends.peer.shutdown(socket.SHUT_WR)
    await until(lambda: ends.reader.lost)
    assert ends.reader.reads == [b"last words"]
    assert ends.reader.ended
    assert ends.reader.lost == [None]
    assert not ends.outlet.broken


async def test_a_reset_that_reading_finds_is_told(ends: Ends) -> None:
    ends.share()
    ends.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    ends.peer.close()
    await until(lambda: ends.reader.lost)
    assert ends.outlet.broken
    assert not ends.reader.ended


async def test_nothing_is_read_after_the_end(ends: Ends) -> None:
    ends.share()
    ends.peer.send(b"too late")
    ends.outlet.close()
    await until(lambda: ends.reader.lost)
    assert ends.reader.reads == []


async def test_a_reader_that_fails_is_hung_up_on(ends: Ends) -> None:
    """What it would make of the next bytes, nobody knows."""
    loop = asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    bug = RuntimeError("a bug")
    ends.reader.fault = bug
    ends.share()
    ends.peer.send(b"x")
    await until(lambda: ends.reader.lost)
    assert told == [bug]
    assert ends.outlet.broken
    assert await ends.read(1) == b""
    loop.set_exception_handler(None)
