"""The first thing that runs in a child: from the fork server's state to a clean process that runs its entry point.

Knows signals, names and what ``multiprocessing`` leaves open in a child. Refuses to know what the child does: the entry
is a name, ``package.module:function``. Imported by every child, so it imports little.
"""

import importlib
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing import forkserver
from types import FrameType

from hyperion import privileges

#: Seconds a child whose supervisor is gone has to end by itself (it reads the end of its control channel) before it is
#: ended. Enough to reset its connections; short, because its port answers and nobody restarts or reloads it any more.
ORPHAN_GRACE = 2

#: Exit code of a child that did not end by itself: a bug.
EXIT_STUCK = 70


def enter(entry: str, name: str, channel: socket.socket, listeners: list[socket.socket]) -> None:
    """Runs ``entry(channel, listeners)`` in this fresh child, shown as ``name`` in ``ps``.

    Returns or raises what the entry does; ``SystemExit`` becomes the exit code.
    """
    privileges.set_process_name(name)
    _leave_fork_server()
    _end_with_supervisor()
    _reset_signals()
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(channel, listeners)


def _leave_fork_server() -> None:
    """Closes our copy of the pipe that keeps the fork server alive.

    The standard library gives one to each child, so that children can start children. Ours never do, and with the copy
    closed the fork server ends with the supervisor, not with the last child.
    """
    server = getattr(forkserver, "_forkserver", None)
    alive = getattr(server, "_forkserver_alive_fd", None)
    if alive is not None:
        os.close(alive)
        setattr(server, "_forkserver_alive_fd", None)  # noqa: B010 (no stub knows it)


def _end_with_supervisor() -> None:
    """A child that is stuck does not read its control channel: a timer ends it when the supervisor is gone.

    The kernel sends SIGALRM when our parent, the fork server, dies; and that dies with the supervisor.
    """
    if sys.platform == "linux":
        signal.signal(signal.SIGALRM, _Orphan())
        privileges.signal_on_parent_death(signal.SIGALRM)


class _Orphan:
    """Handler of SIGALRM: the fork server died, or the timer set here ran out."""

    def __init__(self) -> None:
        self._alone = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        supervisor = multiprocessing.parent_process()
        if supervisor is None or not supervisor.is_alive():
            if self._alone:
                os._exit(EXIT_STUCK)
            self._alone = True
        # Alive: somebody killed the fork server alone, which costs us nothing; or the supervisor is just dying.
        signal.alarm(ORPHAN_GRACE)


def _reset_signals() -> None:
    """Ctrl-C and a hangup reach the whole process group, but only the supervisor decides; SIGTERM is the entry's.

    They were blocked since before the fork, so none could hit the half-made process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
