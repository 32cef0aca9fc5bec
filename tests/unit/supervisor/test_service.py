"""The order of things, with a crew that is only pretended."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from hyperion.errors import ChildError, ConfigError, TemporaryError
from hyperion.proto.control import Drain, Stop
from hyperion.supervisor import service
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.notify import Notifier
from hyperion.supervisor.service import Callbacks, Service
from hyperion.supervisor.signals import Order
from hyperion.supervisor.spec import Timing

Logged = list[tuple[str, str | None]]
DRAIN, STOP, RELOAD = Order.DRAIN, Order.STOP, Order.RELOAD


class FakeCrew:
    """Obeys nothing by itself: the test says when it is ready and when it is gone."""

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_ready = asyncio.Event()
        self.is_gone = asyncio.Event()
        self.orders: asyncio.Queue[object] = asyncio.Queue()
        self.names = ["a", "b"]
        self.leaving = False

    async def ready(self) -> None:
        await self.is_ready.wait()

    async def gone(self) -> None:
        await self.is_gone.wait()

    def leave(self, order: object) -> None:
        self.leaving = True
        self.orders.put_nowait(order)

    def kill(self) -> None:
        self.orders.put_nowait("kill")
        self.is_gone.set()

    def is_fresh(self) -> bool:
        return True


class Stage:
    """A service with everything around it."""

    def __init__(self, reload: Callable[[], Awaitable[object]] | None = None) -> None:
        self.crew = FakeCrew()
        self.queue: asyncio.Queue[Order] = asyncio.Queue()
        self.started = asyncio.Event()
        self.reloads: asyncio.Queue[None] = asyncio.Queue()
        self._do_reload = reload
        #: Whether the children had been told, when this was.
        self.endings: list[bool] = []
        callbacks = Callbacks(
            self._start, self._reload, lambda: "fine", ending=lambda: self.endings.append(self.crew.leaving)
        )
        self.service = Service(cast("Crew", self.crew), self.queue, Notifier(None), callbacks, 7.0)
        self.task = asyncio.create_task(self.service.run())

    def _start(self) -> dict[str, object]:
        self.started.set()
        return {}

    async def _reload(self) -> None:
        self.reloads.put_nowait(None)
        if self._do_reload is not None:
            await self._do_reload()

    async def serve(self) -> None:
        self.crew.is_ready.set()
        await asyncio.wait_for(self.started.wait(), 5)

    async def order(self) -> object:
        return await asyncio.wait_for(self.crew.orders.get(), 5)

    async def code(self) -> int:
        return await asyncio.wait_for(self.task, 5)


async def test_a_drain(logged: Logged) -> None:
    stage = Stage()
    await stage.serve()
    stage.queue.put_nowait(DRAIN)
    assert await stage.order() == Drain(7.0)
    assert stage.endings == [False]
    stage.crew.is_gone.set()
    assert await stage.code() == 0
    assert logged == [("HYP0001N", None), ("HYP0003N", None), ("HYP0002N", "drain")]


async def test_a_stop(logged: Logged) -> None:
    stage = Stage()
    await stage.serve()
    stage.queue.put_nowait(STOP)
    assert await stage.order() == Stop()
    stage.crew.is_gone.set()
    assert await stage.code() == 130
    assert logged == [("HYP0001N", None), ("HYP0002N", "stop")]


@pytest.mark.parametrize("second", [DRAIN, STOP])
async def test_politely_then_soon_then_at_once(logged: Logged, second: Order) -> None:
    stage = Stage()
    await stage.serve()
    stage.queue.put_nowait(DRAIN)
    assert await stage.order() == Drain(7.0)
    stage.queue.put_nowait(RELOAD)  # no longer
    stage.queue.put_nowait(second)
    assert await stage.order() == Stop()
    stage.queue.put_nowait(RELOAD)
    stage.queue.put_nowait(DRAIN)
    assert await stage.order() == "kill"
    assert await stage.code() == 0
    assert stage.reloads.empty()


async def test_an_end_before_the_beginning(logged: Logged) -> None:
    stage = Stage()
    stage.queue.put_nowait(STOP)
    assert await stage.order() == Stop()
    stage.crew.is_gone.set()
    assert await stage.code() == 130
    assert not stage.started.is_set()


async def test_a_reload_that_comes_too_early_is_done_later(logged: Logged) -> None:
    stage = Stage()
    stage.queue.put_nowait(RELOAD)
    while not stage.queue.empty():
        await asyncio.sleep(0)
    assert stage.reloads.empty()
    await stage.serve()
    await asyncio.wait_for(stage.reloads.get(), 5)
    stage.crew.is_gone.set()
    stage.queue.put_nowait(STOP)
    assert await stage.code() == 130


@pytest.mark.parametrize(
    ("error", "line"), [(ConfigError("no"), ("HYP5002E", None)), (ZeroDivisionError(), ("HYP9002E", None))]
)
async def test_a_reload_that_fails_changes_nothing(
    logged: Logged, error: Exception, line: tuple[str, str | None]
) -> None:
    async def fail() -> None:
        raise error

    stage = Stage(fail)
    await stage.serve()
    stage.queue.put_nowait(RELOAD)
    stage.queue.put_nowait(RELOAD)
    stage.queue.put_nowait(STOP)
    stage.crew.is_gone.set()
    assert await stage.code() == 130
    assert logged[1:] == [line, ("HYP0002N", "stop")]


async def test_orders_to_reload_that_come_during_one_make_one_more() -> None:
    going_on = asyncio.Event()
    stage = Stage(going_on.wait)
    await stage.serve()
    for _ in range(3):
        stage.queue.put_nowait(RELOAD)
    await asyncio.wait_for(stage.reloads.get(), 5)
    going_on.set()
    await asyncio.wait_for(stage.reloads.get(), 5)
    stage.crew.is_gone.set()
    stage.queue.put_nowait(STOP)
    assert await stage.code() == 130
    assert stage.reloads.empty()


async def test_a_reload_that_hangs_keeps_nobody_from_ending_it(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RELOAD_PATIENCE", 0.01)
    stage = Stage(asyncio.Event().wait)
    await stage.serve()
    asked = asyncio.create_task(stage.service.reload())
    await asyncio.wait_for(stage.reloads.get(), 5)
    stage.queue.put_nowait(DRAIN)
    assert await stage.order() == Drain(7.0)
    with pytest.raises(TemporaryError, match="it is ending"):
        await asked
    stage.crew.is_gone.set()
    assert await stage.code() == 0


async def test_a_crew_that_fails_during_a_reload_ends_the_service(logged: Logged) -> None:
    stage = Stage(asyncio.Event().wait)
    await stage.serve()
    stage.queue.put_nowait(RELOAD)
    await asyncio.wait_for(stage.reloads.get(), 5)
    stage.crew.failed.set_exception(ChildError("no worker is left"))
    with pytest.raises(ChildError, match="no worker is left"):
        await stage.code()


@pytest.mark.parametrize("ready", [False, True])
async def test_a_crew_that_failed_ends_the_service(logged: Logged, ready: bool) -> None:
    stage = Stage()
    if ready:
        await stage.serve()
    stage.crew.failed.set_exception(ChildError("no worker is left"))
    with pytest.raises(ChildError, match="no worker is left"):
        await stage.code()


async def test_a_crew_that_fails_on_its_way_out_does_not_matter(logged: Logged) -> None:
    stage = Stage()
    await stage.serve()
    stage.queue.put_nowait(DRAIN)
    await stage.order()
    stage.crew.failed.set_exception(ChildError("no worker is left"))
    stage.crew.failed.exception()
    stage.crew.is_gone.set()
    assert await stage.code() == 0


async def test_a_block_that_fails_leaves_no_process(logged: Logged) -> None:
    with pytest.raises(ZeroDivisionError):
        async with service.open_crew("tests.helpers.fake_preload", Timing(), lambda: None) as crew:
            raise ZeroDivisionError
    assert crew.leaving
