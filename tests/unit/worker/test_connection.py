"""The adapter between a socket and the tunnel machine."""

import asyncio
import socket
import sys
from collections import Counter

import pytest

from hyperion.events import SESSION_CLOSED, TUNNEL_DOWN
from hyperion.proto.errors import RecordError
from hyperion.proto.noise.record import LENGTH_BYTES, TAG_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES, SYN, FrameType, encode_header
from hyperion.worker import connection
from hyperion.worker.outlet import Outlet
from tests.helpers.rig import WAIT_SECONDS, Events, Rig, Stream, echo, ending, hang_up, noise, service, until

pytestmark = pytest.mark.both_loops


async def stalled(rig: Rig) -> list[Stream]:
    """Forty streams under way, the link stalled, and as much sent on them as the tunnel takes."""
    assert rig.link is not None
    streams = [await rig.open() for _ in range(40)]
    for reader, writer in streams:
        writer.write(b"x")
        await reader.readexactly(1)
    rig.link.stall()
    data = noise(1 << 18)  # what one stream may send is less than the kernel holds
    for _, writer in streams:
        writer.write(data)
    await until(lambda: rig.client_tunnels()[0].scheduler.blocked)
    return streams


async def test_streams_and_sessions_hear_of_a_cut(events: Events) -> None:
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        reader, writer = await rig.open()
        writer.write(b"x")
        await reader.readexactly(1)
        rig.link.cut()
        assert await ending(reader) == "reset"
        await hang_up(writer)
        await until(lambda: events.fields(SESSION_CLOSED))
        assert events.reasons(SESSION_CLOSED)[0] in {"peer-closed", "connection-lost"}
        await rig.up(1)


async def test_an_end_of_file_inside_a_record_is_a_truncation(events: Events) -> None:
    async with Rig(9, link=True) as rig:
        near, far = rig.client_tunnels()[0].tunnel.mux, rig.server_tunnels()[0].tunnel.mux
        # Nothing is under way any more: a link that hangs up with bytes unread resets, and a record is not cut in two.
        await until(lambda: near.round_trip is not None and far.round_trip is not None)
        rig.server_tunnels()[0].tunnel.receive_data(memoryview(b"\x00\x20half"), 0.0)
        assert rig.link is not None
        rig.link.cut(politely=True)
        await until(lambda: events.fields(SESSION_CLOSED))
        assert events.reasons(SESSION_CLOSED) == ["truncated"]


async def test_a_silent_peer_is_left_at_once_though_bytes_wait_for_it(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport closes only after the last byte left, and to a dead peer none leaves: that must not be waited for."""
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.1)
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        streams = await stalled(rig)
        tunnel = rig.client_tunnels()[0]
        keepalive = tunnel.tunnel.mux._keepalive
        for _ in range(3):  # two pings that nobody answers, and the one that finds out
            keepalive._next_at = 0.0
            tunnel._on_timer()
        assert await ending(streams[0][0]) == "reset"
        rig.link.resume()  # for the new connection
        await until(lambda: "keepalive-timeout" in events.reasons(TUNNEL_DOWN), 3)
        await rig.up(1)
        for _, writer in streams:
            writer.transport.abort()


async def test_ending_a_session_does_not_wait_for_a_peer_that_reads_nothing(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.1)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = noise(1 << 20)
        while True:
            writer.write(data)
            await writer.drain()

    async with service(flood) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stall("down")
        streams = [await rig.open() for _ in range(40)]
        tunnel = rig.server_tunnels()[0]
        await until(lambda: tunnel.scheduler.blocked)
        rig.server.handle(rig.policy())
        await rig.state(lambda state: True)
        next(iter(rig.server._sessions)).end("revoked")
        await until(lambda: events.fields(SESSION_CLOSED), 3)
        assert events.reasons(SESSION_CLOSED)[0] == "revoked"
        for _, writer in streams:
            writer.transport.abort()
        rig.link.resume()


async def test_a_peer_that_asks_and_never_reads_is_dropped(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings are answered whatever waits to be written; only a bound on what waits ends that."""
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", 160 * 1024)
    rig = Rig(9, link=True)
    rig.server_listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    async with rig, asyncio.timeout(WAIT_SECONDS):
        assert rig.link is not None
        rig.link.stall("down")
        client, server = rig.client_tunnels()[0], rig.server_tunnels()[0].tunnel.mux
        while not events.fields(SESSION_CLOSED):
            heard = server._keepalive.last_heard
            client.tunnel.mux.pending += encode_header(FrameType.PING, SYN, 0, 7) * 60
            client._write_out()
            while server._keepalive.last_heard == heard and not events.fields(SESSION_CLOSED):
                await asyncio.sleep(0)
        assert events.reasons(SESSION_CLOSED) == ["write-stalled"]
        rig.link.resume()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each socket has a turn of its own")
async def test_small_bodies_share_a_record_with_the_others_of_their_turn_and_wait_for_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with service(echo) as port, Rig(port) as rig:
        streams = [await rig.open() for _ in range(3)]
        for reader, writer in streams:
            writer.write(b"x")
            await reader.readexactly(1)
        ours = rig.client_tunnels()[0]
        await until(lambda: not ours.tunnel.mux.pending)
        seen: list[int] = []
        written, gathered = Outlet.write_from_buffer, Outlet.write

        def write_from_buffer(outlet: Outlet, record: memoryview) -> None:
            if outlet is ours._outlet:
                seen.append(len(record))
            written(outlet, record)

        def write(outlet: Outlet, record: bytes | bytearray) -> None:
            if outlet is ours._outlet:
                seen.append(len(record))
            gathered(outlet, record)

        monkeypatch.setattr(Outlet, "write_from_buffer", write_from_buffer)
        monkeypatch.setattr(Outlet, "write", write)
        around = LENGTH_BYTES + TAG_BYTES
        for together in (1, 3):
            seen.clear()
            for _, writer in streams[:together]:
                writer.write(b"12345")
            for reader, _ in streams[:together]:
                assert await reader.readexactly(5) == b"12345"
            assert seen == [around + together * (HEADER_BYTES + 5)]
        for _, writer in streams:
            await hang_up(writer)


class Turns:
    """Counts the loop's turns, and what the server handled in each."""

    def __init__(self, rig: Rig) -> None:
        self.number = 0
        self.handled: Counter[int] = Counter()
        served = rig.server_tunnels()[0]
        next_event = served.tunnel.next_event

        def count_event() -> object:
            event = next_event()
            self.handled[self.number] += event is not None
            return event

        served.tunnel.next_event = count_event  # type: ignore[method-assign, assignment]
        self._next()

    def _next(self) -> None:
        self.number += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


@pytest.mark.parametrize("in_one_record", [60_000, 500])
@pytest.mark.parametrize("shared", [True, False])
async def test_a_flood_of_tiny_frames_gives_others_their_turns(
    monkeypatch: pytest.MonkeyPatch, *, shared: bool, in_one_record: int
) -> None:
    """One read holds 20,000 of them. What they say arrives whole and in order, and so does what follows."""
    if not shared:
        monkeypatch.setattr(Outlet, "share", lambda *_: None)
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await rig.open()
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        ours = rig.client_tunnels()[0]
        (stream,) = ours.tunnel.mux.streams
        turns = Turns(rig)
        data = noise(60_000)
        for number, value in enumerate(data, 1):
            ours.tunnel.mux.send_data(stream, bytes((value,)))
            if number % in_one_record == 0:
                ours._write_out()
        writer.write(b"last")
        assert await reader.readexactly(len(data) + 4) == data + b"last"
        turns.stop()
        assert max(turns.handled.values()) <= 2 * connection.FRAMES_A_TURN + 20  # data, and perhaps a word about each
        await hang_up(writer)


async def test_a_drain_in_the_middle_of_a_flood_of_tiny_frames_hears_the_peer_out(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        reader, writer = await rig.open()
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        ours, served = rig.client_tunnels()[0], rig.server_tunnels()[0]
        (stream,) = ours.tunnel.mux.streams
        for _ in range(20_000):
            ours.tunnel.mux.send_data(stream, b"x")
        ours._write_out()
        await until(lambda: served.tunnel.mux.has_more)
        outlet = served._outlet
        assert outlet is not None
        error = RecordError("enough")
        served.part(error)
        await until(lambda: events.fields(SESSION_CLOSED))
        assert not outlet._resting
        await hang_up(writer)
