"""Bytes through a server worker and a client worker, every one compared."""

import asyncio
import hashlib

import pytest

from tests.helpers.rig import Events, Rig, digest, echo, hang_up, noise, send_all, service

pytestmark = pytest.mark.both_loops

SIZES = (1, 16_383, 16_384, 16_385, 65_518, 65_519, 65_520, 262_143, 262_144, 262_145, 1 << 20)


async def test_each_size_both_ways(events: Events) -> None:
    async with service(echo) as port, Rig(port, pool_size=2) as rig:
        for size in SIZES:
            data = noise(size, size)
            assert await rig.exchange(data) == data, size


@pytest.mark.parametrize("size", [64 << 20, pytest.param(1 << 30, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
async def test_a_large_body(size: int, events: Events) -> None:
    """Up, with a digest as the answer, and down, with a digest here."""
    block = noise(1 << 20)

    async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(size >> 20):
            writer.write(block)
            await writer.drain()
        writer.write_eof()

    expected = hashlib.sha256()
    for _ in range(size >> 20):
        expected.update(block)
    async with service(digest) as up, service(source) as down, Rig(up, down) as rig:
        reader, writer = await rig.open(0)
        for _ in range(size >> 20):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == expected.digest()
        await hang_up(writer)
        reader, writer = await rig.open(1)
        total = hashlib.sha256()
        while data := await reader.read(1 << 18):
            total.update(data)
        assert total.digest() == expected.digest()
        await hang_up(writer)


@pytest.mark.parametrize("streams", [1, 10, 100, 500])
async def test_many_streams_at_once(streams: int, events: Events) -> None:
    """Both directions push at the same time, so no side may stop reading because it is writing."""
    size = (8 << 20) // streams
    async with service(echo) as port, Rig(port, pool_size=2) as rig:

        async def one(number: int) -> bool:
            data = noise(size + number % 3, number)
            return await rig.exchange(data) == data

        assert all(await asyncio.gather(*map(one, range(streams))))


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(200)])])
async def test_short_streams_at_concurrency_200(count: int, events: Events) -> None:
    async with service(echo) as port, Rig(port, pool_size=2) as rig:
        turns = asyncio.Semaphore(200)
        data = noise(1024)

        async def one() -> bool:
            async with turns:
                return await rig.exchange(data) == data

        assert (await asyncio.gather(*(one() for _ in range(count)))).count(False) == 0
        beat = rig.client.heartbeat()
        assert (beat.streams, beat.streams_total, beat.bytes_in) == (0, count, 1024 * count)


@pytest.mark.parametrize("count", [600, pytest.param(1200, marks=pytest.mark.long)])
async def test_more_opens_than_a_pool_has_room_for(count: int, events: Events) -> None:
    """Of those that run none dies; those without room are refused, or wait until one of the others ends."""
    async with service(echo) as port, Rig(port, pool_size=1) as rig:
        opened = asyncio.Semaphore(0)
        release = asyncio.Event()

        async def one() -> bool:
            reader, writer = await rig.open()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            opened.release()
            await release.wait()
            await send_all(writer, b"rest")
            answer = await reader.read()
            await hang_up(writer)
            return answer == b"rest"

        tasks = [asyncio.create_task(one()) for _ in range(count)]
        for _ in range(480):  # what one connection may carry
            await opened.acquire()
        assert len(rig.client._pool._waiting) <= count - 480
        release.set()
        assert all(await asyncio.gather(*tasks))
        assert {state.up for state in rig.states} == {1}  # no tunnel was lost over it


async def test_a_stalled_reader_holds_up_nobody_else(events: Events) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = noise(1 << 18)
        while True:
            writer.write(data)
            await writer.drain()

    async with service(flood) as stuck, service(echo) as port, Rig(stuck, port) as rig:
        _, writer = await rig.open(0)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the write transport reads, too
        data = noise(1 << 20)
        for _ in range(16):
            assert await rig.exchange(data, 1) == data
        writer.transport.abort()
