"""How connections end: half-closes in every order, and never a clean end for what was cut."""

import asyncio
import itertools

import pytest

from tests.helpers.rig import Events, Rig, ending, hang_up, noise, send_all, service, until

pytestmark = pytest.mark.both_loops

#: (the application ends first, it has sent something, the target has sent something)
PATTERNS = list(itertools.product([True, False], repeat=3))


@pytest.mark.parametrize(("first", "up", "down"), PATTERNS)
async def test_half_close_in_every_order(*, first: bool, up: bool, down: bool, events: Events) -> None:
    """What is said after the other side's last word still arrives, and both ends are clean."""
    there: asyncio.Queue[bytes] = asyncio.Queue()
    up_data, down_data = noise(100_000, 1) * up, noise(100_000, 2) * down

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first:
            there.put_nowait(await reader.read())
        await send_all(writer, down_data)
        if not first:
            there.put_nowait(await reader.read())

    async with service(target) as port, Rig(port) as rig:
        for _ in range(10):
            reader, writer = await rig.open()
            if first:
                await send_all(writer, up_data)
            assert await reader.read() == down_data
            if not first:
                await send_all(writer, up_data)
            assert await there.get() == up_data
            await hang_up(writer)
        await until(lambda: not rig.client._forwards[0].streams and not rig.server_tunnels()[0].owners)


@pytest.mark.parametrize("how", ["abort", "end of file", "stop", "server gone"])
async def test_a_broken_tunnel_is_never_a_clean_end(how: str, events: Events) -> None:
    """100 of 100 streams, in the middle of a transfer, at both ends."""
    at_target: list[str] = []

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise(10_000))
        at_target.append(await ending(reader))

    async with service(target) as port, Rig(port, pool_size=2, link=True) as rig:
        assert rig.link is not None
        streams = [await rig.open() for _ in range(100)]
        for reader, writer in streams:
            writer.write(b"half of it")
            await reader.readexactly(10_000)
        if how == "abort":
            rig.link.cut()
        elif how == "end of file":
            rig.link.cut(politely=True)
        elif how == "stop":
            rig.client.stop("stop")
        else:
            rig.server.stop("stop")
        endings = await asyncio.gather(*(ending(reader) for reader, _ in streams))
        assert endings == ["reset"] * 100
        await until(lambda: len(at_target) == 100)
        assert at_target == ["reset"] * 100
        for _, writer in streams:
            await hang_up(writer)


async def test_a_real_end_is_a_clean_one(events: Events) -> None:
    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise(10_000))
        writer.write_eof()

    async with service(target) as port, Rig(port, pool_size=2) as rig:

        async def one() -> str:
            reader, writer = await rig.open()
            how = await ending(reader)
            await hang_up(writer)
            return how

        assert await asyncio.gather(*(one() for _ in range(100))) == ["eof"] * 100
