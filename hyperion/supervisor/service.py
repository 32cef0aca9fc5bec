"""The life of a service, the same for both programs: children become ready, orders are obeyed, all end.

Knows the order of things. Refuses to know what the children do and what a reload changes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperion import log
from hyperion.errors import EXIT_INTERRUPTED, HyperionError, InternalError, TemporaryError
from hyperion.events import CONFIG_REJECTED, INTERNAL_ERROR, SERVICE_DRAINING, SERVICE_STARTED, SERVICE_STOPPED
from hyperion.loop import loop_name
from hyperion.proto.control import Drain, Stop
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.notify import Notifier
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.signals import Order
from hyperion.supervisor.spec import Timing

EXIT_OK = 0
#: Seconds that a reload under way has to come to its end when the service is told to end.
RELOAD_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the server and the client do in their own way."""

    #: All children are ready. Returns fields for the log.
    started: Callable[[], Mapping[str, object]]
    #: Somebody sent SIGHUP. Raises ``HyperionError`` if nothing was changed, and why.
    reload: Callable[[], Coroutine[Any, Any, None]]
    #: One line for the service manager.
    status: Callable[[], str]
    #: What a reload reads.
    config_file: Path | None = None
    #: An order to end came, and is about to be passed on to the children.
    ending: Callable[[], None] = lambda: None


class Service:
    """Carries out the orders that arrive in ``queue`` on ``crew``."""

    def __init__(
        self, crew: Crew, queue: "asyncio.Queue[Order]", notifier: Notifier, callbacks: Callbacks, drain_timeout: float
    ) -> None:
        self._crew = crew
        self._queue = queue
        self._notifier = notifier
        self._callbacks = callbacks
        self._drain_timeout = drain_timeout
        self._waiting: list[asyncio.Future[None]] = []
        #: ``starting``, ``up``, ``draining``.
        self.phase = "starting"

    @property
    def drain_timeout(self) -> float:
        """Seconds that streams have after an order to drain."""
        return self._drain_timeout

    def order(self, order: Order) -> None:
        """As if a signal had come."""
        self._queue.put_nowait(order)

    async def reload(self) -> None:
        """Orders a reload and returns when it is done. Raises what made it fail: a ``HyperionError``."""
        if self.phase == "draining":
            raise TemporaryError("it is ending", hint="start it again: that reads the configuration")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._queue.put_nowait(Order.RELOAD)
        await done

    async def run(self) -> int:
        """From the first child to the last; the exit code. Raises ``ChildError`` when the children cannot go on."""
        watchdog = asyncio.create_task(self._notifier.watchdog(self._crew.is_fresh))
        try:
            order = await self._start() or await self._serve()
            self._notifier.stopping()
            await self._end(order)
        finally:
            watchdog.cancel()
        code = EXIT_INTERRUPTED if order is Order.STOP else EXIT_OK
        log.event(SERVICE_STOPPED, {"process.exit_code": code}, reason=order.value)
        return code

    async def _start(self) -> Order | None:
        """Until all are ready (``None``), or somebody does not want it any more."""
        ready = asyncio.create_task(self._crew.ready())
        reload_wanted = False
        try:
            while (order := await self._next_order(ready)) is not None:
                if order is not Order.RELOAD:
                    return order
                reload_wanted = True
        finally:
            ready.cancel()
        fields = {"hyperion.effective.loop": loop_name(), "hyperion.effective.workers": len(self._crew.names)}
        self.phase = "up"
        log.event(SERVICE_STARTED, fields | dict(self._callbacks.started()))
        self._notifier.ready(self._callbacks.status())
        if reload_wanted:
            self._queue.put_nowait(Order.RELOAD)
        return None

    async def _serve(self) -> Order:
        while (order := await self._next_order(None)) is Order.RELOAD:
            self._notifier.reloading()
            if (ending := await self._reload()) is not None:
                return ending
            self._notifier.ready(self._callbacks.status())
        assert order is not None
        return order

    async def _reload(self) -> Order | None:
        """Whatever is wrong with the new configuration, or with our reading of it, what runs goes on; unless there came
        an order to end meanwhile."""
        waiting, self._waiting = self._waiting, []
        reloading = asyncio.create_task(self._callbacks.reload())
        try:
            ending = await self._ordered_meanwhile(reloading)
            if reloading.done():
                self._report(reloading.exception(), waiting)
            else:
                _tell(waiting, TemporaryError("it is ending"))
        finally:
            reloading.cancel()
        return ending

    async def _ordered_meanwhile(self, reloading: "asyncio.Task[None]") -> Order | None:
        """Returns when the reload is done: or, with an order to end, at most ``RELOAD_PATIENCE`` seconds after it came.

        Somebody who orders another reload gets one more afterwards, however often he did.
        """
        done = asyncio.create_task(_settled(reloading))
        again = False
        try:
            while (order := await self._next_order(done)) is Order.RELOAD:
                again = True
        finally:
            done.cancel()
        if again:
            self._queue.put_nowait(Order.RELOAD)
        if order is not None:
            await asyncio.wait([reloading], timeout=RELOAD_PATIENCE)
        return order

    def _report(self, error: BaseException | None, waiting: "list[asyncio.Future[None]]") -> None:
        _tell(waiting, error)
        if isinstance(error, HyperionError):
            path = None if self._callbacks.config_file is None else str(self._callbacks.config_file)
            log.event(CONFIG_REJECTED, {"file.path": path} | log.error_fields(error))
        elif error is not None:
            log.event(INTERNAL_ERROR, log.error_fields(error))

    async def _end(self, order: Order) -> None:
        """First politely, at a second order soon, at a third at once."""
        self.phase = "draining"
        self._callbacks.ending()
        waiting, self._waiting = self._waiting, []
        _tell(waiting, TemporaryError("it is ending"))
        gone = asyncio.create_task(self._crew.gone())
        if order is Order.DRAIN:
            log.event(SERVICE_DRAINING, {"hyperion.drain.timeout_s": self._drain_timeout})
            self._crew.leave(Drain(self._drain_timeout))
            await self._next_ending_order(gone)
        if not gone.done():
            self._crew.leave(Stop())
            await self._next_ending_order(gone)
        self._crew.kill()
        await gone

    async def _next_ending_order(self, gone: "asyncio.Task[None]") -> None:
        while not gone.done() and await self._next_order(gone) is Order.RELOAD:
            continue

    async def _next_order(self, until: "asyncio.Task[None] | None") -> Order | None:
        """The next order that concerns the service, as ``_any_order``."""
        while (order := await self._any_order(until)) is Order.REOPEN:
            continue
        return order

    async def _any_order(self, until: "asyncio.Task[None] | None") -> Order | None:
        """The next order; ``None`` if ``until`` is done first.

        Raises what made the crew fail, unless all are leaving anyway.
        """
        order = asyncio.create_task(self._queue.get())
        watched: list[asyncio.Future[None]] = [] if self._crew.leaving else [self._crew.failed]
        if until is not None:
            watched.append(until)
        everything: list[asyncio.Future[Any]] = [order, *watched]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        if order.done():
            return order.result()
        order.cancel()
        for future in watched:
            if future.done():
                future.result()
        return None


async def _settled(task: "asyncio.Task[None]") -> None:
    """Returns when ``task`` is done, whatever became of it."""
    await asyncio.wait([task])


def _tell(waiting: "list[asyncio.Future[None]]", error: BaseException | None) -> None:
    """How the reload went, to those who asked for it and still want to know."""
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        elif isinstance(error, HyperionError):
            done.set_exception(error)
        else:
            done.set_exception(InternalError(f"internal error: {type(error).__name__}", hint="see its log"))


@contextlib.asynccontextmanager
async def open_crew(preload: str, timing: Timing, changed: Callable[[], None]) -> AsyncIterator[Crew]:
    """An empty crew and its fork server. Whatever happens in the block, no process is left afterwards."""
    launcher = Launcher(preload)
    launcher.start()
    crew = Crew(launcher, timing, changed)
    try:
        yield crew
    finally:
        crew.kill()
        await crew.gone()
        launcher.stop()
