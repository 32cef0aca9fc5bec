"""Bytes both ways between a local socket and a stream, and how it ends."""

import asyncio
import hashlib

import pytest

from hyperion.events import STREAM_CLOSED, TUNNEL_DOWN
from hyperion.worker.connection import MAX_UNSENT_BYTES, SMALL_BODY_BYTES
from hyperion.worker.local_socket import LOCAL_HIGH_BYTES
from hyperion.worker.scheduler import BLOCKED_READ_BYTES
from tests.helpers.rig import Events, Rig, Stream, digest, ending, hang_up, noise, reset, service, until

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


async def started_over_a_full_link(rig: Rig, data: bytes, *, half_close: bool) -> list[Stream]:
    """Applications that all said ``data`` before the server's answers came, and then the link took nothing more."""
    assert rig.link is not None
    rig.link.stall("down")  # the answers are on their way
    streams = await asyncio.gather(*(rig.open() for _ in range(200)))
    for _, writer in streams:
        writer.write(data[: len(data) // 2])
    await until(lambda: all(stream._early_out for stream in rig.client._forwards[0].streams))
    for _, writer in streams:
        writer.write(data[len(data) // 2 :])
        if half_close:
            writer.write_eof()
    await until(lambda: all(len(stream._early_out) > 16_384 for stream in rig.client._forwards[0].streams))
    await until(lambda: len(rig.server_tunnels()[0].owners) == len(streams))
    rig.link.stall("up")
    rig.link._flowing["down"].set()
    return streams


@pytest.mark.parametrize("half_close", [True, False])
async def test_uploads_that_begin_together_wait_for_their_turn(events: Events, *, half_close: bool) -> None:
    """What was said before the answers came, 6 MB here, must not pile up in our memory: the link is slow, not dead."""
    data = noise(30_000)
    async with service(digest) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        streams = await started_over_a_full_link(rig, data, half_close=half_close)
        tunnel = rig.client_tunnels()[0]
        await until(lambda: all(stream.established for stream in rig.client._forwards[0].streams))
        assert tunnel.scheduler.blocked
        assert tunnel._outlet is not None
        assert tunnel._outlet.waiting_bytes < MAX_UNSENT_BYTES / 2
        assert any(stream._early_out for stream in rig.client._forwards[0].streams)
        rig.link.resume()
        for reader, writer in streams:
            if not half_close:
                writer.write_eof()
            assert await reader.read() == hashlib.sha256(data).digest()
            await hang_up(writer)
        assert events.reasons(TUNNEL_DOWN) == []


def test_what_streams_may_send_while_nothing_is_taken_is_no_reason_to_hang_up() -> None:
    assert 512 * (BLOCKED_READ_BYTES + SMALL_BODY_BYTES) < MAX_UNSENT_BYTES
