"""What every worker does, whatever it carries: it obeys the supervisor, counts, drains and ends.

Knows the orders that all workers understand, and what draining means: nothing new, then the end when nothing runs any
more, or when the time is over. Refuses to know what runs: the kinds of worker do (``server``, ``client``, ``socks``).
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

from hyperion.proto.control import Drain, Heartbeat, Poll, Stop, SupervisorToWorker, WorkerToSupervisor
from hyperion.worker.counters import Counters
from hyperion.worker.poller import new_poller


class Worker(ABC):
    """One kind of worker; one instance per process. ``tell`` reaches the supervisor; ``finished`` is set at the end."""

    def __init__(self, tell: Callable[[WorkerToSupervisor], None]) -> None:
        self.finished = asyncio.Event()
        self._tell = tell
        self._counters = Counters()
        self._poller = new_poller()
        self._draining = False

    @abstractmethod
    async def start(self, listeners: list[socket.socket]) -> None:
        """Serve on the sockets that the supervisor handed over. Raises ``OSError``."""

    @abstractmethod
    def stop(self, reason: str) -> None:
        """End what runs now, then set ``finished``. ``reason`` is a short stable word for logs."""

    @abstractmethod
    def heartbeat(self) -> Heartbeat:
        """The counters of now."""

    def handle(self, message: SupervisorToWorker) -> bool:
        """Obey the supervisor. False if a worker of this kind knows no such order."""
        match message:
            case Poll():
                self._tell(self.heartbeat())
            case Drain(timeout=timeout):
                self.drain(timeout)
            case Stop():
                self.stop("stop")
            case _:
                return False
        return True

    def drain(self, timeout: float) -> None:
        """Take nothing new; finish what runs, but no longer than ``timeout`` seconds. The second time it does
        nothing."""
        if self._draining:
            return
        self._draining = True
        self._take_nothing_new()
        asyncio.get_running_loop().call_later(timeout, self.stop, "drain")
        self._finish_if_drained()

    @abstractmethod
    def _take_nothing_new(self) -> None:
        """Accept no more."""

    @abstractmethod
    def _finish_if_drained(self) -> None:
        """The end, if that was ordered and nothing runs any more."""
