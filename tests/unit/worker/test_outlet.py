"""The way out of a tunnel: order, memory that is used again, and no descriptor kept too long."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hyperion.worker.connection import as_transport
from hyperion.worker.outlet import Outlet
from tests.helpers.rig import noise, until

pytestmark = pytest.mark.both_loops


class Ends:
    """An outlet, and the socket at the other end."""

    def __init__(self, transport: asyncio.Transport, peer: socket.socket) -> None:
        self.transport = transport
        self.outlet = Outlet(transport)
        self.peer = peer

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
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=sock)
    made = Ends(as_transport(transport), peer)
    yield made
    if not made.transport.is_closing():
        made.outlet.abort()
    peer.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("shared", [True, False])
async def test_order_is_kept_whatever_the_kernel_takes(ends: Ends, *, shared: bool) -> None:
    if shared:
        ends.outlet.share()
        ends.outlet.share()  # once is enough
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
    ends.outlet.share()
    ends.outlet.write(b"at once")
    assert ends.outlet.waiting_bytes == 0
    assert ends.peer.recv(100) == b"at once"


@pytest.mark.parametrize("how", ["close", "abort", "let_go"])
async def test_the_end_is_seen_at_once(ends: Ends, how: str) -> None:
    """The second descriptor must not keep the connection alive."""
    before = len(os.listdir("/proc/self/fd"))
    ends.outlet.share()
    getattr(ends.outlet, how)()
    getattr(ends.outlet, how)()
    if how == "let_go":
        ends.transport.abort()
    assert await ends.read(1) == b""
    await until(lambda: len(os.listdir("/proc/self/fd")) < before)
    ends.outlet.share()  # too late


async def test_a_broken_connection_is_the_transport_s_to_find(ends: Ends) -> None:
    ends.outlet.share()
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
    ends.outlet.share()
    ends.outlet.write(b"slowly")
    assert await ends.read(6) == b"slowly"
