"""What all workers do alike, shown by one that carries nothing."""

import asyncio
import socket

import pytest

from hyperion.proto.control import DeviceDown, Drain, Heartbeat, Poll, Stop, WorkerToSupervisor
from hyperion.worker.duties import Worker

pytestmark = pytest.mark.both_loops


class Idle(Worker):
    """Runs as many things as it is told."""

    def __init__(self) -> None:
        self.told: list[WorkerToSupervisor] = []
        super().__init__(self.told.append)
        self.running = 0
        self.log: list[str] = []

    async def start(self, listeners: list[socket.socket]) -> None: ...

    def stop(self, reason: str) -> None:
        self.log.append(reason)
        self.running = 0
        self._draining = True
        self._finish_if_drained()

    def heartbeat(self) -> Heartbeat:
        return self._counters.heartbeat(self.running, [])

    def _take_nothing_new(self) -> None:
        self.log.append("nothing new")

    def _finish_if_drained(self) -> None:
        if self._draining and not self.running:
            self.finished.set()


async def test_who_asks_is_answered() -> None:
    worker = Idle()
    worker.running = 3
    assert worker.handle(Poll())
    assert worker.told == [Heartbeat(3, 0, 0, 0, 0, 0)]


async def test_an_order_that_is_none_of_its_own() -> None:
    assert not Idle().handle(DeviceDown())


async def test_it_ends_at_once_if_nothing_runs() -> None:
    worker = Idle()
    assert worker.handle(Drain(60.0))
    assert worker.finished.is_set()
    assert worker.log == ["nothing new"]


async def test_it_ends_when_its_time_is_over_and_drains_once() -> None:
    worker = Idle()
    worker.running = 1
    worker.handle(Drain(0.01))
    worker.handle(Drain(60.0))
    assert not worker.finished.is_set()
    async with asyncio.timeout(5):
        await worker.finished.wait()
    assert worker.log == ["nothing new", "drain"]


async def test_it_stops() -> None:
    worker = Idle()
    worker.running = 1
    worker.handle(Stop())
    assert worker.finished.is_set()
    assert worker.log == ["stop"]
