"""Helpers as processes: a fresh interpreter for each, with its own few rights and nothing else of ours.

Knows how a program is executed with just these capabilities and descriptors. Refuses to know what the helper does.

Not from the fork server: that one gave up every right, and a process that is forked shares the address space layout,
and whatever else it held, with all the others.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys

from hyperion import privileges
from hyperion.capabilities import Rights
from hyperion.supervisor.process import set_once

#: Where a helper finds its control socket.
CONTROL_FD = 3

#: What a helper may know of our environment: how to write for this terminal, and in which time zone. Never a secret,
#: and nothing that changes which code an interpreter runs.
ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR", "TERM", "TZ")


def execute(module: str, channel: socket.socket, rights: Rights) -> "ExecutedProcess":
    """Starts ``python -m module`` with the capabilities ``rights`` in effect and ``channel`` as descriptor 3.

    ``rights`` that we do not hold are left out: the helper says better than we could what it lacks. Raises ``OSError``
    if nothing can be started.
    """
    # -I: neither the environment nor the current directory decides which code runs with these rights.
    command = [sys.executable, "-I", "-m", module]
    with privileges.ambient(privileges.held(rights)):
        pid = os.posix_spawn(
            sys.executable,
            command,
            {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            file_actions=_descriptors(channel),
            # A group of its own: a Ctrl-C on the terminal is the supervisor's business.
            setpgroup=0,
            setsigmask=(),
            # Python ignores it, and what is ignored stays so in a new program.
            setsigdef=(signal.SIGPIPE,),
        )
    return ExecutedProcess(pid)


def _descriptors(channel: socket.socket) -> list[tuple[int, ...]]:
    """Standard input is empty, output and error are ours, then the channel.

    All others of ours close by themselves (PEP 446); those that we were started with do not.
    """
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    strangers = [(os.POSIX_SPAWN_CLOSE, number) for number in _inherited() if number > CONTROL_FD]
    return [null, (os.POSIX_SPAWN_DUP2, channel.fileno(), CONTROL_FD), *strangers]  # type: ignore[list-item]


def _inherited() -> list[int]:
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return [number for number in numbers if _is_inheritable(number)]


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # what the directory was read with is closed by now
        return False


class ExecutedProcess:
    """One helper, from its start to its exit code: as ``ChildProcess``, for a child of our own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:  # no descriptor left: nobody would ever hear of its end
            os.kill(pid, signal.SIGKILL)
            self._reap()
            raise

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended."""
        if self._exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int:
        """The exit code once it has ended: negative for a signal."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.add_reader(self._pidfd, set_once, ended)
        try:
            await ended
        finally:
            loop.remove_reader(self._pidfd)
        return self._reap()

    def close(self) -> None:
        """Frees what belongs to the process; kills it if it still runs."""
        self.kill()
        self._reap()
        os.close(self._pidfd)

    def _reap(self) -> int:
        if self._exit_code is None:
            self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._exit_code
