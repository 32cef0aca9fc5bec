"""Workers as the operating system sees them: start, exit code, kill; and the fork server they come from.

Knows ``multiprocessing`` and its habits. Refuses to know what a child is for, when to restart it, what it says.

The fork server is a fresh interpreter that has imported the workers' code: forking it starts a worker in milliseconds
and shares that memory, and as it was exec'd it holds no secret of ours. It costs two processes: the fork server, and
the standard library's resource tracker, which has nothing to do here but cannot be left out. Both end in ``stop``.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver, process, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from types import ModuleType
from typing import Any, Protocol

from hyperion.supervisor.child import enter

#: Windows has no fork, so no fork server: children are fresh interpreters there.
FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()

#: Sockets that can be handed to one child at its start. Linux passes 253 descriptors in one message (SCM_MAX_FD in
#: linux/net/scm.h) and five are taken: two pipes, the fork server's, the tracker's and the control channel.
MAX_LISTENERS = 248

#: What the fork server imports before anything else.
DISARM = "hyperion.supervisor.disarm"
#: ... and then: what each child runs first. Else each would read it from disk again, into memory of its own.
FIRST_STEPS = ("multiprocessing.popen_forkserver", "hyperion.supervisor.child")

#: What must not reach a child before it has its own handlers.
_HELD_SIGNALS = {signal.SIGINT, signal.SIGTERM} | ({signal.SIGHUP} if sys.platform != "win32" else set())


class Launcher:
    """Starts children. ``preload``: the module that the fork server imports first. One at a time in a process."""

    def __init__(self, preload: str) -> None:
        self._preload = preload
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("forkserver") if FORK_SERVER else multiprocessing.get_context("spawn")
        )

    def start(self) -> None:
        """Brings the fork server up, if it is not; returns before it has imported anything (about 1 ms)."""
        if not FORK_SERVER:
            return
        # Up to Python 3.11.0 the fork server listened in the abstract namespace, where any user of the machine can
        # connect and be obeyed (CVE-2022-42919). In a directory of mode 0700 nobody else can.
        setattr(multiprocessing.util, "abstract_sockets_supported", False)  # noqa: B010 (no stub knows it)
        self._context.set_forkserver_preload([DISARM, *FIRST_STEPS, self._preload])
        # First the tracker: it unblocks the signals that are held for the fork server below.
        resource_tracker.ensure_running()
        with _signals_held(), _no_main_module():
            forkserver.ensure_running()

    def launch(
        self, entry: str, name: str, channel: socket.socket, listeners: Sequence[socket.socket]
    ) -> "ChildProcess":
        """Starts a child that runs ``entry``. Waits for the fork (a few ms; the first time for the imports, too).

        Raises ``OSError`` or ``EOFError`` if the fork server is gone or the machine has no room.
        """
        self.start()
        child = self._context.Process(
            target=enter, args=(entry, name, channel, list(listeners)), name=name, daemon=True
        )
        with _no_main_module():
            child.start()
        return ChildProcess(child)

    def stop(self) -> None:
        """Ends the fork server and the tracker and waits for them. All children must have ended: they are waited for.

        The standard library ends both only when the interpreter is torn down, and leaves the last to init.
        """
        if not FORK_SERVER:
            return
        helpers: tuple[Any, ...] = (forkserver._forkserver, resource_tracker._resource_tracker)
        for helper in helpers:
            helper._stop()


class Process(Protocol):
    """A child, however it was started."""

    pid: int

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended."""

    async def wait(self) -> int | None:
        """The exit code once it has ended: negative for a signal, ``None`` if nobody knows."""

    def close(self) -> None:
        """Frees what belongs to the process; kills it if it still runs."""


class ChildProcess:
    """One child, from its start to its exit code."""

    def __init__(self, child: process.BaseProcess) -> None:
        assert child.pid is not None
        self._process = child
        self.pid = child.pid
        # A pid may be another process tomorrow, a pidfd never; and it works without the fork server.
        self._pidfd: int | None = None
        try:
            self._pidfd = os.pidfd_open(child.pid) if sys.platform == "linux" else None
        except ProcessLookupError:  # it has ended before we came to it: `wait` tells how, and `kill` finds nobody
            child.join()
        except OSError:  # no descriptor left: nobody would ever hear of its end
            self.close()
            raise

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended."""
        if sys.platform != "linux" or self._pidfd is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int | None:
        """The exit code once it has ended: negative for a signal, ``None`` if nobody knows (the fork server died)."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        try:
            loop.add_reader(self._process.sentinel, set_once, ended)
        except NotImplementedError:  # Windows: a handle that the loop cannot watch
            threading.Thread(target=_join, args=(self._process, loop, ended), daemon=True).start()
            await ended
        else:
            try:
                await ended
            finally:
                loop.remove_reader(self._process.sentinel)
        self._process.join()
        # 255 is what the standard library makes up when the fork server cannot tell; ours never exit so.
        return None if self._process.exitcode == 255 else self._process.exitcode

    def close(self) -> None:
        """Frees what belongs to the process; kills it if it still runs."""
        self.kill()
        self._process.join()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._process.close()


def set_once(future: "asyncio.Future[None]") -> None:
    """Ends a wait; what is readable stays so, and calls again."""
    if not future.done():
        future.set_result(None)


def _join(child: process.BaseProcess, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
    child.join()
    loop.call_soon_threadsafe(set_once, ended)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """While this holds, ``__main__`` looks like that of an interactive interpreter.

    ``multiprocessing`` has each child import the parent's main module again, found by its ``__spec__`` or ``__file__``,
    in case the child's function lives there. Ours never does, and the command line has no business in a worker: it
    would cost each of them time and memory, and code that the worker does not need.
    """
    real = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = real


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Holds signals back in this thread, and for ever in processes started meanwhile: a mask survives fork and exec.

    So Ctrl-C or a service manager that signals the whole group does not end the fork server, and a child that is being
    forked gets the signal when it has its handlers, not before. Here they arrive at the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
