"""The client's worker: drain, stop, counters."""

import asyncio

import pytest

from hyperion.events import STREAM_FAILED
from hyperion.proto.admins import Roster
from hyperion.proto.control import Drain, ServerPolicy, Stop
from tests.helpers.rig import Events, Rig, Stream, echo, ending, hang_up, service, until

pytestmark = pytest.mark.both_loops


async def talking(rig: Rig) -> Stream:
    """A stream that the target has answered."""
    reader, writer = await rig.open()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    return reader, writer


async def test_a_drain_closes_the_listener_and_finishes_what_runs(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await talking(rig)
        assert rig.client.handle(Drain(30.0))
        rig.client.drain(30.0)  # said twice
        await until(lambda: rig.client._forwards[0]._acceptor is not None)
        with pytest.raises(ConnectionError):
            await rig.open()
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
        assert not rig.client.finished.is_set()
        writer.write_eof()
        assert await reader.read() == b""
        async with asyncio.timeout(5):
            await rig.client.finished.wait()
        await hang_up(writer)


async def test_a_drain_ends_at_its_deadline(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await talking(rig)
        rig.client.drain(0.1)
        assert await ending(reader) == "reset"
        async with asyncio.timeout(5):
            await rig.client.finished.wait()
        await hang_up(writer)


async def test_stop_resets_everybody_also_those_who_wait(events: Events) -> None:
    async with Rig(9, link=True) as rig:
        assert rig.link is not None
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: state.up == 0)
        reader, writer = await rig.open()
        await until(lambda: rig.client._forwards[0].streams)
        assert rig.client.handle(Stop())
        assert await ending(reader) == "reset"
        async with asyncio.timeout(5):
            await rig.client.finished.wait()
        await hang_up(writer)
        assert events.reasons(STREAM_FAILED) == ["stop"]


async def test_orders_for_others_are_not_known() -> None:
    async with Rig(9) as rig:
        assert not rig.client.handle(ServerPolicy(Roster(), 1.0))


async def test_the_heartbeat_counts(events: Events) -> None:
    async with service(echo) as port, Rig(port, pool_size=2) as rig:
        assert await rig.exchange(b"x" * 1000) == b"x" * 1000
        _, writer = await talking(rig)
        beat = rig.client.heartbeat()
        assert (beat.sessions, beat.streams, beat.streams_total) == (2, 1, 2)
        assert (beat.bytes_in, beat.bytes_out) == (1001, 1001)
        await hang_up(writer)


async def test_an_idle_stream_owns_no_buffer(events: Events) -> None:
    """Objects only: what both sides and both applications of this process hold for 400 idle streams."""
    async with service(echo) as port, Rig(port, pool_size=2) as rig:
        streams = [await talking(rig) for _ in range(20)]
        for stream in [*rig.client._forwards[0].streams, *rig.server_tunnels()[0].owners]:
            assert not any(
                isinstance(value, bytearray | memoryview)
                for name in ("_early_out", "_early")
                if (value := getattr(stream, name, None)) and len(value)
            )
        for _, writer in streams:
            await hang_up(writer)
