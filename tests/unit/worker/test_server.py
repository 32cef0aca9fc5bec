"""The server's worker: reload, drain, stop, counters."""

import asyncio

import pytest

from hyperion.events import REJECTIONS_SUMMARISED, SESSION_CLOSED
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import ClientWorkerConfig, Drain, LogSettings, ServerPolicy, Stop
from hyperion.worker.connector import ConnectFailed, Connector, TunnelSession
from hyperion.worker.egress import Admins
from tests.helpers.rig import SERVER, Events, Rig, Stream, echo, ending, hang_up, service, until

pytestmark = pytest.mark.both_loops


async def talking(rig: Rig, index: int = 0) -> Stream:
    """A stream that the target has answered."""
    reader, writer = await rig.open(index)
    await still_talking((reader, writer))
    return reader, writer


async def still_talking(stream: Stream) -> None:
    reader, writer = stream
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"


async def test_a_reload_without_a_port_refuses_new_streams_and_leaves_the_running_ones(events: Events) -> None:
    async with service(echo) as port, service(echo) as other, Rig(port, other) as rig:
        running = await talking(rig)
        assert rig.server.handle(rig.policy(other))
        reader, writer = await rig.open()
        assert await ending(reader) == "reset"
        await hang_up(writer)
        await still_talking(running)
        assert await rig.exchange(b"allowed", 1) == b"allowed"
        await hang_up(running[1])


async def test_a_reload_without_an_admin_cuts_its_session(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await talking(rig)
        assert rig.server.handle(ServerPolicy(Roster(), 0.2))
        assert await ending(reader) == "reset"
        await hang_up(writer)
        await until(lambda: events.fields(SESSION_CLOSED))
        assert events.reasons(SESSION_CLOSED) == ["revoked"]
        with pytest.raises(ConnectFailed, match="hung up"):
            await Connector(rig.target()).connect(TunnelSession())


async def test_a_drain_finishes_what_runs_and_takes_nothing_new(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        running = await talking(rig)
        assert rig.server.handle(Drain(30.0))
        rig.server.drain(30.0)  # said twice
        reader, writer = await rig.open()
        assert await ending(reader) == "reset"
        await hang_up(writer)
        await still_talking(running)
        assert not rig.server.finished.is_set()
        running[1].write_eof()
        assert await running[0].read() == b""
        async with asyncio.timeout(5):
            await rig.server.finished.wait()
        await hang_up(running[1])
        assert events.reasons(SESSION_CLOSED) == ["drain"]


async def test_a_drain_ends_at_its_deadline(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await talking(rig)
        rig.server.drain(0.1)
        assert await ending(reader) == "reset"
        async with asyncio.timeout(5):
            await rig.server.finished.wait()
        await hang_up(writer)


async def test_a_drain_without_sessions_is_over_at_once() -> None:
    async with Rig(9) as rig:
        rig.server.stop("stop")
        await until(lambda: rig.server.finished.is_set())
        rig.server.drain(30.0)
        rig.server.stop("stop")


async def test_a_client_that_arrives_during_a_drain_does_not_hold_it_up(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        running = await talking(rig)
        late = TunnelSession()
        listed = rig.server.admins

        class DrainNow(Admins):
            def find(self, public_key: bytes) -> AdminRule | None:
                rig.server.drain(30.0)
                return listed.find(public_key)

        rig.server.admins = DrainNow(())
        await Connector(rig.target()).connect(late)
        async with asyncio.timeout(5):
            await late.closed
        await hang_up(running[1])
        async with asyncio.timeout(5):
            await rig.server.finished.wait()


async def test_stop_ends_everything_now(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await talking(rig)
        assert rig.server.handle(Stop())
        assert await ending(reader) == "reset"
        async with asyncio.timeout(5):
            await rig.server.finished.wait()
        await hang_up(writer)
        assert events.reasons(SESSION_CLOSED) == ["stop"]


async def test_orders_for_others_are_not_known() -> None:
    async with Rig(9) as rig:
        assert not rig.server.handle(
            ClientWorkerConfig("x", "127.0.0.1", 1, SERVER, SERVER, SERVER, 1, (), LogSettings())
        )


async def test_the_heartbeat_counts(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        assert await rig.exchange(b"x" * 1000) == b"x" * 1000
        running = await talking(rig)
        await until(lambda: rig.server.heartbeat().streams == 1)
        beat = rig.server.heartbeat()
        assert (beat.sessions, beat.sessions_total, beat.streams_total) == (1, 1, 2)
        assert (beat.bytes_in, beat.bytes_out) == (1001, 1001)
        await hang_up(running[1])


async def test_it_summarises_what_it_did_not_log(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig(9) as rig:
        monkeypatch.setattr(rig.server.meter, "summary", lambda now: [("limit", 7, 2)])
        rig.server.heartbeat()
        assert events.reasons(REJECTIONS_SUMMARISED) == ["limit"]
        assert events.fields(REJECTIONS_SUMMARISED)[0]["hyperion.suppressed_count"] == 7
