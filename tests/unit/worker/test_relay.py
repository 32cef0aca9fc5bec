"""Bytes both ways between a local socket and a stream, and how it ends."""

import asyncio

import pytest

from hyperion.events import STREAM_CLOSED
from hyperion.worker.local_socket import LOCAL_HIGH_BYTES
from tests.helpers.rig import Events, Rig, ending, hang_up, noise, reset, service, until

pytestmark = pytest.mark.both_loops


async def test_who_never_reads_holds_a_window_and_no_more(events: Events) -> None:
    """The reader's side: what waits in our memory is bounded by the stream's window."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = noise(1 << 18)
        for _ in range(64):
            writer.write(data)
            await writer.drain()

    async with service(flood) as port, Rig(port) as rig:
        reader, writer = await rig.open()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the write transport reads, too
        await until(lambda: rig.client._forwards[0].streams)
        stream = rig.client._forwards[0].streams[0]
        assert stream._local is not None
        local = stream._local
        await until(lambda: local.full)
        window = rig.client_tunnels()[0].tunnel.mux.streams[0].receive_window
        for _ in range(20):
            await asyncio.sleep(0.01)
            # what the socket was given before it was full is credited already, and may still wait there
            assert local.waiting_bytes <= window.maximum + LOCAL_HIGH_BYTES
        await reader.readexactly(0)
        reset(writer)
        await until(lambda: not rig.client._forwards[0].streams)
        assert rig.states[-1].up == 1


async def test_a_reset_is_passed_on_both_ways(events: Events) -> None:
    endings: asyncio.Queue[str] = asyncio.Queue()

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"!":
            reset(writer)
        else:
            writer.write(b"ok")
            endings.put_nowait(await ending(reader))

    async with service(target) as port, Rig(port) as rig:
        reader, writer = await rig.open()
        writer.write(b"!")
        assert await ending(reader) == "reset"
        await hang_up(writer)
        reader, writer = await rig.open()
        writer.write(b"?")
        await reader.readexactly(2)
        reset(writer)
        assert await endings.get() == "reset"
        await until(lambda: len(events.reasons(STREAM_CLOSED)) == 4)
        assert sorted(map(str, events.reasons(STREAM_CLOSED))) == ["local-error", "local-error", "reset", "reset"]


async def test_many_resets_in_the_middle_of_bulk_disturb_nobody(events: Events) -> None:
    """The loop must have nothing to complain about, whatever half-dead transport is written to."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = noise(1 << 16)
        while True:
            writer.write(data)
            await writer.drain()

    async with service(flood) as port, Rig(port) as rig:
        for turn in range(60):
            reader, writer = await rig.open()
            await reader.readexactly(1 + turn * 1000)
            (reset if turn % 2 else lambda w: w.transport.abort())(writer)
        await until(lambda: not rig.client._forwards[0].streams and not rig.server_tunnels()[0].owners)
        assert rig.states[-1].up == 1
