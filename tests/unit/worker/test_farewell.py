"""A polite end: the tail arrives, and who takes nothing is left."""

import asyncio
import sys
from collections.abc import Callable

import pytest

from hyperion.events import SESSION_CLOSED
from hyperion.proto.control import Drain
from hyperion.proto.yamux.frame import SYN, FrameType, encode_header
from hyperion.worker import connection, farewell
from hyperion.worker.client import ClientWorker
from hyperion.worker.connection import TunnelConnection
from tests.helpers.rig import Events, Link, Rig, Stream, digest, hang_up, noise, service, until

pytestmark = pytest.mark.both_loops


def narrow(port: int) -> Rig:
    """A rig with little room on the way, so that much of an answer waits where it is sent."""
    rig = Rig(port, link=True)
    rig.link = Link(rig.server_port, 8192)
    return rig


async def parted(rig: Rig) -> tuple[Stream, TunnelConnection]:
    """The client said all it had to say, its answer is stuck on the way, and the server drains."""
    assert rig.link is not None
    stream = await rig.open()
    stream[1].write(b"give")
    await until(lambda: all(stream.established for stream in rig.client._streams()) and rig.server_tunnels()[0].owners)
    tunnel = rig.server_tunnels()[0]
    rig.link.stall("down")
    stream[1].write_eof()
    rig.server.handle(Drain(20.0))
    await until(lambda: not tunnel.alive)
    return stream, tunnel


def answering(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], asyncio.Future[None]]:
    """A service that hears its client out, and then says ``data``."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(data)
        writer.write_eof()
        await writer.drain()

    return answer  # type: ignore[return-value]


@pytest.mark.parametrize("size", [100_000, 250_000])
async def test_a_drain_does_not_cut_the_tail_of_the_last_stream(events: Events, size: int) -> None:
    """On a slow link, with a client that goes on to speak: window updates and pings meet an open socket."""
    data = noise(size)
    async with service(answering(data)) as port, narrow(port) as rig:
        assert rig.link is not None
        (reader, writer), _ = await parted(rig)
        rig.link.down_rate = 300_000
        rig.link.resume()
        got = bytearray()
        async with asyncio.timeout(10):
            while part := await reader.read(1 << 16):
                got += part
                client = rig.client_tunnels()
                if client and client[0].alive:
                    client[0].tunnel.mux.pending += encode_header(FrameType.PING, SYN, 0, 7)
                    client[0]._write_out()
        assert bytes(got) == data
        await hang_up(writer)
        await until(rig.server.finished.is_set)
        assert events.reasons(SESSION_CLOSED) == ["drain"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell what was taken")
async def test_who_takes_nothing_is_left(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "PATIENCE_SECONDS", 0.2)
    async with service(answering(noise(250_000))) as port, narrow(port) as rig:
        (_, writer), _ = await parted(rig)
        await until(rig.server.finished.is_set, 5)
        assert events.reasons(SESSION_CLOSED) == ["drain"]
        writer.transport.abort()


async def test_who_takes_a_little_now_and_then_is_left_in_the_end(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "PATIENCE_SECONDS", 0.6)
    monkeypatch.setattr(farewell, "MAX_SECONDS", 1.0)
    async with service(answering(noise(250_000))) as port, narrow(port) as rig:
        assert rig.link is not None
        (_, writer), _ = await parted(rig)
        rig.link.down_rate = 20_000
        rig.link.resume()
        await until(rig.server.finished.is_set, 5)
        assert events.reasons(SESSION_CLOSED) == ["drain"]
        writer.transport.abort()


async def test_an_order_to_end_waits_no_longer(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.2)
    async with service(answering(noise(250_000))) as port, narrow(port) as rig:
        assert rig.link is not None
        (_, writer), _ = await parted(rig)
        rig.link.down_rate = 20_000
        rig.link.resume()
        rig.server.stop("stop")
        await until(rig.server.finished.is_set, 3)
        writer.transport.abort()


async def test_what_comes_after_the_last_word_is_thrown_away(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that talks on costs nothing but the time that it has."""
    async with service(answering(noise(250_000))) as port, narrow(port) as rig:
        assert rig.link is not None
        (_, writer), tunnel = await parted(rig)
        heard: list[int] = []
        monkeypatch.setattr(tunnel.tunnel, "receive_data", lambda data, now: heard.append(len(data)))
        client = rig.client_tunnels()[0]
        for _ in range(50):
            client.tunnel.mux.pending += encode_header(FrameType.PING, SYN, 0, 7) * 60
            client._write_out()
            await asyncio.sleep(0)
        rig.link.resume()
        await until(rig.server.finished.is_set)
        assert heard == []
        writer.transport.abort()


async def test_a_client_that_drains_waits_until_its_server_has_it_all(events: Events) -> None:
    """Its process ends behind this: what is still in our memory by then would be lost."""
    async with service(digest) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        reader, writer = await rig.open()
        writer.write_eof()
        await reader.read()
        await hang_up(writer)
        client: ClientWorker = rig.client
        await until(lambda: not client._streams())
        rig.link.stall("up")
        client.handle(Drain(20.0))
        tunnel = client._pool.connections[0]
        await until(lambda: tunnel._farewell is not None)
        await asyncio.sleep(0.05)
        assert not client.finished.is_set()
        rig.link.resume()
        await until(client.finished.is_set, 3)
        assert events.reasons(SESSION_CLOSED) == ["peer-went-away"]


async def test_the_end_of_the_time_to_drain_is_the_end(events: Events) -> None:
    async with service(digest) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stall("up")
        rig.client.handle(Drain(0.2))
        await until(rig.client.finished.is_set, 1)
        rig.link.resume()


async def test_without_a_second_descriptor_it_is_the_same(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperion.worker.outlet._SHARES", False)
    data = noise(250_000)
    async with service(answering(data)) as port, narrow(port) as rig:
        assert rig.link is not None
        (reader, writer), _ = await parted(rig)
        rig.link.down_rate = 1_000_000
        rig.link.resume()
        async with asyncio.timeout(10):
            assert await reader.read() == data
        await hang_up(writer)
        await until(rig.server.finished.is_set)
