"""Tells a worker which of its local sockets can be read or written, for a fraction of what transports cost.

Knows descriptors, interest and readiness. Refuses to know what a socket is for, and reads and writes nothing.

A loop's transport costs some 30 us for each connection on uvloop, and a short stream needs one at either end. On Linux
all local sockets of a worker share one epoll instance, and the loop watches that one as if it were a socket. Elsewhere
the loop watches each socket.
"""

import asyncio
import errno
import select
import sys
from abc import ABC, abstractmethod
from typing import Final, Protocol

from hyperion.worker import turn

#: What to wait for, and what is there; the values are those of epoll.
READ: Final = 1
WRITE: Final = 4

#: Sockets that the loop of Windows can watch, less some for listeners, tunnels and the supervisor: its ``select`` takes
#: 512, and one more would end the loop.
SELECT_LIMIT: Final = 448 if sys.platform == "win32" else None

#: Sockets served in one turn of the loop. The rest is served in the next one, behind the tunnels, and first.
MAX_READY: Final = 64


class Watched(Protocol):
    """Who waits for a socket."""

    def on_ready(self, ready: int) -> None:
        """The socket can be read or written (``READ``, ``WRITE``, both), or it broke: try, and the kernel will say.

        May be called in vain: the event may be one turn old, and belong to an earlier socket of the same number.
        """

    def on_fault(self) -> None:
        """``on_ready`` raised, which is a bug of ours: give this socket up. It is no longer watched."""


class Poller(ABC):
    """One for each worker, on the loop that runs when the first socket is watched.

    Not watched means: nothing is reported, not even an error.
    """

    def __init__(self) -> None:
        self._watched: dict[int, Watched] = {}

    @abstractmethod
    def open(self) -> None:
        """Take from the system what it takes, now and not with the first socket. Raises OSError."""

    def watch(self, number: int, watched: Watched, interest: int) -> None:
        """From now on ``watched`` hears when descriptor ``number`` has what ``interest`` asks for.

        Replaces what was said of this descriptor before. Raises OSError if the kernel has no room for it.
        """
        self._set(number, interest, known=number in self._watched)
        self._watched[number] = watched

    def forget(self, number: int) -> None:
        """Watch it no more. To be called before it is closed; unknown descriptors are fine."""
        if self._watched.pop(number, None) is not None:
            self._unset(number)

    def close(self) -> None:
        """Watch nothing any more. Closes no socket."""
        for number in list(self._watched):
            self.forget(number)

    @abstractmethod
    def _set(self, number: int, interest: int, *, known: bool) -> None:
        """Tell the kernel."""

    @abstractmethod
    def _unset(self, number: int) -> None:
        """Tell the kernel."""

    def _serve(self, events: list[tuple[int, int]]) -> None:
        """Tell those who wait for these descriptors. Hot path: one turn's events in one call."""
        watched = self._watched
        ours = turn.begin(len(events))
        try:
            for number, ready in events:
                who = watched.get(number)
                if who is None:
                    continue  # forgotten by somebody who was served before it in this turn
                try:
                    who.on_ready(ready)
                except Exception as error:  # noqa: BLE001 - a bug of ours costs this socket, and no other
                    self._give_up(number, who, error)
        finally:
            if ours:
                turn.end()  # whatever happened: what a turn gathers goes out at its end, and only there

    def _give_up(self, number: int, who: Watched, error: Exception) -> None:
        """``who`` failed, and may fail again when it is told so."""
        _complain("serving a local socket failed", error)
        try:
            self.forget(number)
        except OSError as failure:
            _complain("a local socket could not be forgotten", failure)
        try:
            who.on_fault()
        except Exception as failure:  # noqa: BLE001 - two bugs of ours still cost this socket only
            _complain("giving up a local socket failed", failure)


class LoopPoller(Poller):
    """For any loop with ``add_reader``: the loop watches each socket, ``limit`` at most (None: as many as come)."""

    def __init__(self, limit: int | None = SELECT_LIMIT) -> None:
        super().__init__()
        self._limit = limit

    def open(self) -> None:
        """There is nothing to take."""

    def _set(self, number: int, interest: int, *, known: bool) -> None:
        if self._limit is not None and not known and len(self._watched) >= self._limit:
            raise OSError(errno.EMFILE, "no more sockets can be watched")
        loop = asyncio.get_running_loop()
        if interest & READ:
            loop.add_reader(number, self._serve, [(number, READ)])
        elif known:
            loop.remove_reader(number)
        if interest & WRITE:
            loop.add_writer(number, self._serve, [(number, WRITE)])
        elif known:
            loop.remove_writer(number)

    def _unset(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(number)
        loop.remove_writer(number)


class EpollPoller(Poller):
    """For Linux: one epoll instance for all sockets, watched by the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll: select.epoll | None = None

    def open(self) -> None:
        if self._epoll is None:
            self._open()

    def close(self) -> None:
        super().close()
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            asyncio.get_running_loop().remove_reader(epoll.fileno())
            epoll.close()

    def _set(self, number: int, interest: int, *, known: bool) -> None:
        epoll = self._epoll or self._open()
        if known:
            epoll.modify(number, interest)
        else:
            epoll.register(number, interest)

    def _unset(self, number: int) -> None:
        if self._epoll is not None:
            self._epoll.unregister(number)

    def _open(self) -> select.epoll:
        self._epoll = select.epoll()
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._serve_ready)
        return self._epoll

    def _serve_ready(self) -> None:
        if self._epoll is not None:
            self._serve(self._epoll.poll(0, MAX_READY))


def _complain(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def new_poller() -> Poller:
    """The fastest one that works here."""
    return EpollPoller() if sys.platform == "linux" else LoopPoller()
