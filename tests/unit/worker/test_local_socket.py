"""One local socket: reading in turns, writing without waiting, and the three ways to end."""

import asyncio
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.worker import local_socket
from hyperion.worker.buffers import local_buffer
from hyperion.worker.local_socket import JOINED_BYTES, LOCAL_HIGH_BYTES, MAX_BURST, LocalOwner, LocalSocket, prepare
from hyperion.worker.poller import EpollPoller, LoopPoller, Poller
from tests.helpers.rig import noise, until

pytestmark = pytest.mark.both_loops


class Owner(LocalOwner):
    """Remembers."""

    def __init__(self) -> None:
        self.limit = 1000
        self.data = bytearray()
        self.sizes: list[int] = []
        self.ended = False
        self.drained = 0
        self.closed: list[OSError | None] = []

    def read_limit(self) -> int:
        return self.limit

    def on_local_data(self, size: int) -> None:
        self.data += local_buffer[HEADER_BYTES : HEADER_BYTES + size]
        self.sizes.append(size)

    def on_local_end(self) -> None:
        self.ended = True

    def on_local_drained(self) -> None:
        self.drained += 1

    def on_local_closed(self, error: OSError | None) -> None:
        self.closed.append(error)


class Ends:
    """A local socket, its owner, and the application at the other end of a real connection."""

    def __init__(self, poller: Poller) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            self.sock = socket.create_connection(listener.getsockname())
            self.application = listener.accept()[0]
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.application.setblocking(False)
        prepare(self.sock)
        self.owner = Owner()
        self.local = LocalSocket(self.sock, poller, self.owner)

    async def read(self, size: int) -> bytes:
        """The application reads so many bytes, or to the end of file."""
        loop = asyncio.get_running_loop()
        data = bytearray()
        async with asyncio.timeout(10):
            while len(data) < size and (part := await loop.sock_recv(self.application, size - len(data))):
                data += part
        return bytes(data)

    async def fill(self) -> int:
        """Write until some of it waits in our memory; how much was written."""
        written = 0
        while not self.local.waiting_bytes:
            self.local.write(memoryview(bytes(4096)))
            written += 4096
        return written

    def reset(self) -> None:
        """The application crashes."""
        self.application.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.application.close()


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    poller: Poller = request.param()
    made = Ends(poller)
    yield made
    made.local.abort()
    made.application.close()
    poller.close()


async def test_reads_only_when_it_may(ends: Ends) -> None:
    ends.application.send(b"hello")
    await asyncio.sleep(0.02)
    assert ends.owner.data == b""
    ends.local.resume_reading()
    ends.local.resume_reading()
    await until(lambda: ends.owner.data == b"hello")
    ends.local.pause_reading()
    ends.application.send(b" again")
    await asyncio.sleep(0.02)
    assert ends.owner.data == b"hello"
    ends.local.resume_reading()
    await until(lambda: ends.owner.data == b"hello again")


async def test_reads_no_more_than_the_limit_and_a_few_times_in_a_row(ends: Ends) -> None:
    ends.owner.limit = 10
    ends.application.send(bytes(100))
    asyncio.get_running_loop().call_soon(ends.local.on_ready, 1)
    ends.local.resume_reading()
    ends.local.on_ready(1)
    assert ends.owner.sizes == [10] * MAX_BURST
    await until(lambda: len(ends.owner.data) == 100)
    assert max(ends.owner.sizes) == 10


async def test_who_pauses_while_reading_is_not_read(ends: Ends) -> None:
    ends.owner.limit = 10
    ends.owner.on_local_data = lambda size: ends.local.pause_reading()  # type: ignore[method-assign]
    ends.application.send(bytes(100))
    ends.local.resume_reading()
    await until(lambda: not ends.local._interest)
    ends.local.on_ready(1)
    assert len(ends.sock.recv(100)) == 90


async def test_an_end_of_file_is_told_once_and_writing_goes_on(ends: Ends) -> None:
    ends.local.resume_reading()
    ends.application.send(b"bye")
    ends.application.shutdown(socket.SHUT_WR)
    await until(lambda: ends.owner.ended)
    assert ends.owner.data == b"bye"
    ends.local.write(memoryview(b"still here"))
    assert await ends.read(10) == b"still here"
    assert ends.owner.closed == []


async def test_what_the_kernel_does_not_take_waits_and_arrives(ends: Ends) -> None:
    data = noise(1 << 20)
    for start in range(0, len(data), 10_000):
        ends.local.write(memoryview(data)[start : start + 10_000])
    assert ends.local.full
    assert ends.local.waiting_bytes > LOCAL_HIGH_BYTES
    ends.local.write_eof()
    ends.local.write(memoryview(b"too late"))
    assert await ends.read(2 << 20) == data
    await until(lambda: ends.owner.drained)
    assert (ends.local.waiting_bytes, ends.local.full, ends.owner.drained) == (0, False, 1)


async def test_small_pieces_cost_little_more_than_their_bytes(ends: Ends) -> None:
    await ends.fill()
    before = ends.local.waiting_bytes
    tracemalloc.start()
    try:
        for value in range(100_000):
            ends.local.write(memoryview(bytes((value & 0xFF,))))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ends.local.waiting_bytes - before == 100_000
    assert taken < 200_000


async def test_pieces_of_all_sizes_arrive_in_order(ends: Ends) -> None:
    """Joined or not, sent whole or in parts."""
    written = await ends.fill()
    data = noise(2 << 20)
    chance, start = random.Random(7), 0
    while start < len(data):
        size = chance.choice((1, 2, 100, 4096, JOINED_BYTES - 1, JOINED_BYTES, 65_000))
        ends.local.write(memoryview(data)[start : start + size])
        start += size
        if chance.random() < 0.1:
            await asyncio.sleep(0)
    ends.local.close()
    assert (await ends.read(4 << 20))[written:] == data


async def test_a_polite_end_is_behind_what_waits(ends: Ends) -> None:
    written = await ends.fill()
    ends.local.close()
    ends.local.resume_reading()  # nobody reads any more
    assert ends.owner.closed == []
    assert len(await ends.read(2 << 20)) == written
    await until(lambda: ends.owner.closed)
    assert ends.owner.closed == [None]
    ends.local.close()
    ends.local.abort()


async def test_a_polite_end_of_an_idle_socket_is_told_at_once(ends: Ends) -> None:
    ends.local.close()
    assert ends.owner.closed == [None]
    assert await ends.read(1) == b""


@pytest.mark.parametrize("waiting", [False, True])
async def test_an_abort_is_a_reset_and_not_told(ends: Ends, *, waiting: bool) -> None:
    if waiting:
        await ends.fill()
    ends.local.abort()
    with pytest.raises(ConnectionResetError):
        await ends.read(2 << 20)
    ends.local.write(memoryview(b"nobody"))
    ends.local.write_eof()
    ends.local.resume_reading()
    ends.local.pause_reading()
    await asyncio.sleep(0.01)
    assert ends.owner.closed == []


async def test_dying_is_a_reset(ends: Ends) -> None:
    """As the kernel does it for a killed process: it just closes."""
    ends.sock.close()
    with pytest.raises(ConnectionResetError):
        await ends.read(1)


@pytest.mark.parametrize("how", ["reading", "writing", "waiting", "half-close", "closing"])
async def test_a_reset_of_the_application_is_told_once(how: str, ends: Ends) -> None:
    if how in ("waiting", "closing"):
        await ends.fill()
    if how == "closing":
        ends.local.close()
    ends.reset()
    if how == "reading":
        ends.local.resume_reading()
    elif how == "half-close":
        ends.local.write_eof()
    elif how == "writing":
        ends.local.write(memoryview(b"x"))
        assert ends.owner.closed == []  # not from inside the call
    await until(lambda: ends.owner.closed)
    await asyncio.sleep(0.01)
    assert len(ends.owner.closed) == 1
    assert isinstance(ends.owner.closed[0], OSError)


@pytest.mark.parametrize("how", ["write", "write_eof"])
async def test_what_broke_in_this_turn_is_no_clean_end(ends: Ends, how: str) -> None:
    """The peer's last bytes and its last word come in one read: whoever did not take the first got no whole answer."""
    ends.reset()
    if how == "write":
        ends.local.write(memoryview(b"the answer"))
    else:
        ends.local.write_eof()
    ends.local.close()
    assert ends.owner.closed == []
    await until(lambda: ends.owner.closed)
    await asyncio.sleep(0.01)
    assert len(ends.owner.closed) == 1
    assert isinstance(ends.owner.closed[0], OSError)


async def test_a_bug_of_the_owner_breaks_it(ends: Ends) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)

    def fail(size: int) -> None:
        raise ValueError("a bug")

    ends.owner.on_local_data = fail  # type: ignore[method-assign]
    ends.local.resume_reading()
    ends.application.send(b"x")
    await until(lambda: ends.owner.closed)
    with pytest.raises(ConnectionResetError):
        await ends.read(1)


async def test_without_room_to_watch_it_breaks(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, known: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ends.local._poller, "_set", full)
    ends.local.resume_reading()
    assert ends.owner.closed == []
    await until(lambda: ends.owner.closed)


async def test_a_unix_socket_is_one_too(ends: Ends) -> None:
    ours, theirs = socket.socketpair()
    prepare(ours)
    owner = Owner()
    local = LocalSocket(ours, ends.local._poller, owner)
    local.resume_reading()
    with theirs:
        theirs.send(b"hello")
        await until(lambda: owner.data == b"hello")
        local.write(memoryview(b"to you"))
        assert theirs.recv(6) == b"to you"
        local.close()
        assert theirs.recv(1) == b""
    assert owner.closed == [None]


def test_the_header_fits_in_front() -> None:
    assert len(local_socket._BODY) == len(local_buffer) - HEADER_BYTES
