"""The SOCKS child as a whole: orders, limits, counters."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from hyperion.events import INTERNAL_ERROR, LISTENER_STARTED, REJECTIONS_SUMMARISED
from hyperion.proto.admins import Roster
from hyperion.proto.control import Drain, Heartbeat, LogSettings, Poll, ServerPolicy, SocksConfig, Stop
from hyperion.worker import socks as module
from hyperion.worker.socks import SocksWorker
from hyperion.worker.socks_client import SocksClient
from tests.helpers.rig import Events, listen, port_of, until

pytestmark = pytest.mark.both_loops


class Child:
    """A child with two listeners and nowhere to go."""

    def __init__(self) -> None:
        self.listeners = [listen(), listen()]
        self.addresses = [("127.0.0.1", port_of(each)) for each in self.listeners]
        self.said: list[object] = []
        names = tuple(f"{host}:{port}" for host, port in self.addresses)
        self.worker = SocksWorker(SocksConfig(names, (), LogSettings()), self.said.append)

    async def connected(self) -> asyncio.StreamReader:
        """A client that the child has accepted."""
        before = len(self.worker._clients)
        reader, self.writer = await asyncio.open_connection(*self.addresses[0])
        await until(lambda: len(self.worker._clients) > before)
        return reader


def is_reset(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, 5) as sock:
            return sock.recv(1) != b""
    except ConnectionResetError:
        return True


@pytest.fixture
async def child(events: Events) -> Child:
    made = Child()
    await made.worker.start(made.listeners)
    return made


async def test_it_listens_everywhere_it_is_told(child: Child, events: Events) -> None:
    for address in child.addresses:
        socket.create_connection(address, 5).close()
    assert [each["hyperion.forward.local"] for each in events.fields(LISTENER_STARTED)] == [
        f"{host}:{port}" for host, port in child.addresses
    ]
    child.worker.stop("stop")
    await asyncio.wait_for(child.worker.finished.wait(), 5)
    for address in child.addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)


async def test_orders(child: Child) -> None:
    assert child.worker.handle(Poll())
    assert isinstance(child.said[0], Heartbeat)
    assert not child.worker.handle(ServerPolicy(Roster(), 3.0))
    reader = await child.connected()
    assert child.worker.handle(Drain(30))
    assert child.worker.handle(Drain(30))
    assert not child.worker.finished.is_set()  # somebody is still asking
    assert child.worker.heartbeat().sessions == 1
    assert child.worker.handle(Stop())
    await asyncio.wait_for(child.worker.finished.wait(), 5)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    child.writer.close()


async def test_a_drain_has_an_end(child: Child) -> None:
    await child.connected()
    child.worker.drain(0.1)
    await asyncio.wait_for(child.worker.finished.wait(), 5)
    child.writer.close()


async def test_more_clients_than_it_takes_are_closed(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 1)
    await child.connected()
    first = child.writer
    assert await asyncio.to_thread(is_reset, child.addresses[1])
    first.close()
    child.worker.stop("stop")
    await asyncio.wait_for(child.worker.finished.wait(), 5)


async def test_a_bug_costs_one_client(child: Child, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(self: SocksClient) -> None:
        self._sock.close()
        raise RuntimeError

    monkeypatch.setattr(SocksClient, "serve", serve)
    with contextlib.suppress(ConnectionResetError):
        _, writer = await asyncio.open_connection(*child.addresses[0])
        writer.close()
    await until(lambda: len(events.fields(INTERNAL_ERROR)) == 1)
    child.worker.stop("stop")
    await asyncio.wait_for(child.worker.finished.wait(), 5)


async def test_what_was_only_counted_is_summed_up(
    child: Child, events: Events, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hyperion.flood.SUMMARY_SECONDS", 0.0)
    for _ in range(3):
        child.worker._meter.admit("127.0.0.1", "unknown-server", 1.0)
    child.worker.heartbeat()
    assert events.fields(REJECTIONS_SUMMARISED) == [{"hyperion.suppressed_count": 2, "hyperion.suppressed_sources": 1}]
    child.worker.stop("stop")
    await asyncio.wait_for(child.worker.finished.wait(), 5)
