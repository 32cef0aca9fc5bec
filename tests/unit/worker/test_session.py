"""One admitted client, as the server's log tells of it."""

import asyncio
import os
import time

import pytest

from hyperion.events import SESSION_CLOSED, SESSION_OPENED, STREAM_CLOSED, STREAM_FAILED, STREAM_OPENED
from hyperion.proto.control import Knocked, SessionClosed, SessionOpened
from hyperion.proto.fingerprint import fingerprint
from hyperion.proto.yamux.frame import RST, SYN, FrameType, encode_header
from hyperion.proto.yamux.resets import MAX_HASTY_RESETS
from hyperion.worker import session
from hyperion.worker.deadlines import Deadlines
from tests.helpers.rig import ADMIN, Events, Rig, echo, ending, hang_up, reset, service, until

pytestmark = pytest.mark.both_loops


async def test_one_id_runs_from_the_session_to_each_stream_with_its_bytes(events: Events) -> None:
    async with service(echo) as port:
        async with Rig(port) as rig:
            assert await rig.exchange(b"x" * 300) == b"x" * 300
            assert await rig.exchange(b"y" * 700) == b"y" * 700
        opened = events.fields(SESSION_OPENED)[0]
        closed = events.fields(SESSION_CLOSED)[0]
        assert opened["user.name"] == closed["user.name"] == "alice"
        assert opened["user.id"] == closed["user.id"] == fingerprint(ADMIN)
        assert str(opened["user_agent.original"]).startswith("hyperion/")
        assert (closed["source.bytes"], closed["destination.bytes"], closed["network.bytes"]) == (1000, 1000, 2000)
        assert closed["hyperion.session.streams"] == 2
        ends = [fields for fields in events.fields(STREAM_CLOSED) if "hyperion.session.id" in fields]
        assert [fields["source.bytes"] for fields in ends] == [300, 700]
        assert {fields["hyperion.session.id"] for fields in ends} == {opened["hyperion.session.id"]}
        assert [fields["hyperion.stream.id"] for fields in ends] == [1, 3]


async def test_the_knock_that_let_it_in_is_in_the_lines_of_session_and_stream(events: Events) -> None:
    async with service(echo) as port:
        rig = Rig(port)
        rig.server.handle(Knocked("127.0.0.1", "5f2c9a1e"))
        async with rig:
            assert await rig.exchange(b"x") == b"x"
    for event in (SESSION_OPENED, STREAM_OPENED, STREAM_CLOSED, SESSION_CLOSED):
        served = [fields for fields in events.fields(event) if "user.id" in fields]
        assert [fields["hyperion.knock.id"] for fields in served] == ["5f2c9a1e"], event.action


async def test_without_a_gate_there_is_no_knock_to_name(events: Events) -> None:
    async with Rig(9):
        assert "hyperion.knock.id" not in events.fields(SESSION_OPENED)[0]


async def test_a_client_that_asks_for_nothing_is_not_waited_for(events: Events) -> None:
    async with Rig(9) as rig:
        session = next(iter(rig.server._sessions))
        session._connecting = Deadlines(0.05, lambda stream: stream.end("timeout"))
        mux = rig.client_tunnels()[0].tunnel.mux
        stream = mux.open_stream()
        rig.client_tunnels()[0].send(stream, b"\x00")  # half a request
        await until(lambda: stream.gone)
        assert events.reasons(STREAM_FAILED) == ["timeout"]
        assert mux.stream_count == 0
        assert session.idle


async def test_bytes_behind_the_request_are_not_lost(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        connection = rig.client_tunnels()[0]
        stream = connection.tunnel.mux.open_stream()
        connection.send(stream, port.to_bytes(2, "big") + b"hasty")
        connection.finish(stream)
        await until(lambda: events.fields(STREAM_CLOSED))
        assert events.reasons(STREAM_CLOSED) == ["finished"]
        assert events.fields(STREAM_CLOSED)[0]["source.bytes"] == 5
        assert events.fields(STREAM_CLOSED)[0]["destination.bytes"] == 5
        await until(lambda: stream.bytes_received == 1 + 5)  # on their way when the server has done its part


async def test_a_reset_while_it_connects_leaves_nothing(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        connection = rig.client_tunnels()[0]
        for _ in range(50):
            stream = connection.tunnel.mux.open_stream()
            connection.send(stream, port.to_bytes(2, "big"))
            await asyncio.sleep(0)
            connection.reset(stream)
        await until(lambda: len(events.fields(STREAM_FAILED)) + len(events.fields(STREAM_CLOSED)) == 50)
        assert len(events.fields(STREAM_OPENED)) == len(events.fields(STREAM_CLOSED))
        assert rig.server_tunnels()[0].owners == []
        assert await rig.exchange(b"x") == b"x"


async def test_the_supervisor_hears_of_the_session_and_of_its_end(events: Events) -> None:
    before = time.time()
    async with Rig(9) as rig:
        await until(lambda: rig.server_told)
        (opened,) = rig.server_told
        assert isinstance(opened, SessionOpened)
        assert opened.admin == "alice"
        assert opened.source == "127.0.0.1"
        assert opened.source_port == events.fields(SESSION_OPENED)[0]["source.port"]
        assert opened.id == events.fields(SESSION_OPENED)[0]["hyperion.session.id"]
        assert (opened.agent or "").startswith("hyperion/")
        assert before <= opened.at <= time.time()
    assert rig.server_told == [opened, SessionClosed(opened.id)]


async def test_who_resets_without_waiting_is_sent_away(events: Events) -> None:
    """One read of openings, requests and resets: none is dialed, and after a thousand the session is over."""
    async with service(echo) as port, Rig(port) as rig:
        client, server = rig.client_tunnels()[0], rig.server_tunnels()[0]
        receive, most = server.buffer_updated, 0

        def receive_and_count(nbytes: int) -> None:
            nonlocal most
            receive(nbytes)
            most = max(most, descriptors())

        server.buffer_updated = receive_and_count  # type: ignore[method-assign]
        before = descriptors()
        for number in range(101, 101 + 2 * 9000, 2):
            client.tunnel.mux.pending += encode_header(FrameType.DATA, SYN, number, 2) + port.to_bytes(2, "big")
            client.tunnel.mux.pending += encode_header(FrameType.DATA, RST, number, 0)
        client._write_out()
        await until(lambda: events.fields(SESSION_CLOSED))
        assert "hasty-resets" in events.reasons(SESSION_CLOSED)
        assert most - before < 16
        assert len(events.reasons(STREAM_FAILED)) <= MAX_HASTY_RESETS + 1
        await rig.up(1)
        assert await rig.exchange(b"x") == b"x"


async def test_streams_that_only_drain_count(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_RUNNING", 2)
    async with service(echo) as port, Rig(port) as rig:
        opened = [await rig.open() for _ in range(2)]
        for reader, writer in opened:
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        reader, writer = await rig.open()
        assert await ending(reader) == "reset"
        assert "too-many-streams" in events.reasons(STREAM_FAILED)
        for _, its_writer in [*opened, (reader, writer)]:
            await hang_up(its_writer)


@pytest.mark.parametrize("service_then", ["reads", "resets"])
async def test_what_streams_leave_behind_counts_against_their_connection(events: Events, service_then: str) -> None:
    """A service that ends its side and reads nothing: what it was sent waits in our memory, also after the stream."""
    over = asyncio.Event()

    async def end_and_read_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the write transport reads, too
        writer.write_eof()
        await over.wait()
        if service_then == "reads":
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            while await reader.read(1 << 18):
                pass
        else:
            reset(writer)

    async with service(end_and_read_nothing) as port, service(echo) as other, Rig(port, other) as rig:
        budget = rig.server_tunnels()[0].tunnel.mux.budget
        whole, budget.left = budget.left, 100_000  # the rest: windows that have grown
        reader, writer = await rig.open()
        assert await reader.read() == b""
        (served,) = next(iter(rig.server._sessions)).running
        while served._local is None or served._local.waiting_bytes <= 100_000:
            writer.write(bytes(20_000))
            await asyncio.sleep(0.001)
        writer.write_eof()
        await until(lambda: budget.left < 0)
        writer.close()
        refused, refused_writer = await rig.open(1)
        assert await ending(refused) == "reset"
        assert "too-much-unread" in events.reasons(STREAM_FAILED)
        await hang_up(refused_writer)
        over.set()
        await until(lambda: budget.left == 100_000)
        budget.left = whole
        assert await rig.exchange(b"x", 1) == b"x"


def descriptors() -> int:
    """Open ones of this process."""
    return len(os.listdir("/proc/self/fd"))
