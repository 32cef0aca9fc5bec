"""Whether a program runs, and how to ask it: the side of a command that is in a hurry.

A program that runs holds a lock on the file ``pid`` in its runtime directory for as long as it lives. The number in the
file is only for people, and for a signal when nobody answers; it counts only while the lock is held. A lock cannot be
left behind by a crash, and no stranger can hold it.

Knows that file, the operator socket beside it and the framing of messages. Refuses to know what a program does when it
is asked. Imports little, and no event loop: ``status`` starts in the time that Python itself takes.
"""

import os
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from hyperion.errors import NotRunningError, RefusedError, TemporaryError, error_class
from hyperion.paths import Program, is_root, runtime_directory, system_runtime_directory
from hyperion.proto.operator import MAX_ANSWER_BYTES, Answer, Refused, Request
from hyperion.socket_path import short

try:
    import fcntl
except ImportError:  # Windows: no locks of this kind, no Unix sockets, so no daemon to ask
    fcntl = None  # type: ignore[assignment]

PID_FILE = "pid"
SOCKET_FILE = "control.sock"

#: How a program is called in messages.
TITLES: dict[Program, str] = {"server": "hyperion-server", "client": "hyperion-client"}

#: Seconds that an answer may take. A status takes a quarter of one at most; a reload reads files and asks names.
ANSWER_TIMEOUT = 30.0
#: Seconds between two looks at a lock.
LOOK_SECONDS = 0.02
#: Seconds that a process which gave its lock back may take to end; a few hundredths do.
LAST_SECONDS = 2.0
#: Longest number in the file, bytes.
MAX_PID_BYTES = 16

_LENGTH = struct.Struct(">I")


class Running(NamedTuple):
    """A program that runs: its directory, and its process id where it has written one yet."""

    directory: Path
    pid: int | None


def find(program: Program, config_file: Path | None = None) -> Running | None:
    """The program that runs with this configuration (``None``: the usual one), or ``None``.

    First where this user's would be, then where root's is. Raises ``RefusedError`` where only root may look.
    """
    mine = runtime_directory(program, config_file)
    if (pid := holder(mine)) is not None:
        return Running(mine, pid or None)
    system = system_runtime_directory(program, config_file)
    if is_root() or system == mine:
        return None
    try:
        pid = holder(system)
    except RefusedError:
        title = TITLES[program]
        raise RefusedError(
            f"{title} of another user may be running: {system} is closed to you", hint="ask as root, with sudo"
        ) from None
    return None if pid is None else Running(system, pid or None)


def holder(directory: Path) -> int | None:
    """The process id of whoever holds the lock there; 0 if it has not written it yet; ``None`` if nobody does.

    Raises ``RefusedError`` if we may not look.
    """
    if fcntl is None:
        return None
    try:
        fd = os.open(directory / PID_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise RefusedError(f"{directory} is closed to you", hint="ask as root, with sudo") from None
    try:
        # A shared lock: two who look do not take each other for the program.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_pid(fd)
    finally:
        os.close(fd)
    return None


def read_pid(fd: int) -> int:
    """The number in an open pid file; 0 if there is none."""
    text = os.pread(fd, MAX_PID_BYTES, 0).strip()
    return int(text) if text.isdigit() else 0


def stale_pid(directory: Path) -> int | None:
    """The number that a program which died left in its file."""
    try:
        fd = os.open(directory / PID_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return read_pid(fd) or None
    finally:
        os.close(fd)


def terminate(directory: Path, number: int) -> bool:
    """Sends a signal to whoever holds the lock there; False if nobody does, or nobody knows its process id.

    The number in the file is that of the holder only while the lock is held: it is looked at again when the process
    behind the number is pinned down, so that no stranger is ever signalled. Raises ``RefusedError`` if we may not.
    """
    if (pidfd := _pin(directory)) is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise RefusedError("it belongs to another user", hint="ask as root, with sudo") from None
    finally:
        os.close(pidfd)
    return True


def wait_until_gone(directory: Path, seconds: float) -> bool:
    """Until nobody holds the lock any more; False if that takes longer than ``seconds``.

    Then its process has a moment to end: giving the lock back is one of its last steps.
    """
    deadline = time.monotonic() + seconds
    pidfd = _pin(directory)
    try:
        while holder(directory) is not None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        if pidfd is not None:
            select.select([pidfd], [], [], LAST_SECONDS)
        return True
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _pin(directory: Path) -> int | None:
    """A descriptor of the process that holds the lock; ``None`` if nobody does, or nobody knows which it is."""
    pid = holder(directory)
    if not pid or not hasattr(os, "pidfd_open"):
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):  # gone; or no process id at all, whoever wrote it
        return None
    # Still the same: then the number meant this process when the descriptor was made.
    if holder(directory) == pid:
        return pidfd
    os.close(pidfd)
    return None


def ask(directory: Path, request: Request, timeout: float = ANSWER_TIMEOUT) -> Answer:
    """The answer to ``request``, within ``timeout`` seconds.

    Raises ``NotRunningError`` if nobody listens there, ``TemporaryError`` if no answer comes or it makes no sense, and
    ``RefusedError`` if we may not ask, or the program says no.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        deadline = time.monotonic() + timeout
        try:
            sock.settimeout(timeout)
            with short(directory / SOCKET_FILE) as path:
                sock.connect(path)
            body = msgspec.msgpack.encode(request)
            sock.sendall(_LENGTH.pack(len(body)) + body)
            answer = _receive(sock, deadline)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError("nobody answers: it is not running, or just starting") from None
        except PermissionError:
            raise RefusedError(f"{directory} is closed to you", hint="ask as root, with sudo") from None
        except TimeoutError:
            raise TemporaryError(f"no answer within {timeout:g} s", hint="it is overloaded, or it hangs") from None
        except (OSError, EOFError):
            raise TemporaryError("it hung up without an answer", hint="it refuses this user, or it ends") from None
        except msgspec.DecodeError:
            raise TemporaryError(
                "its answer makes no sense", hint="it was started by another version: restart it"
            ) from None
    return answer


def demand(directory: Path, request: Request, timeout: float = ANSWER_TIMEOUT) -> Answer:
    """As ``ask``; what the program refuses is raised as the error that it is."""
    answer = ask(directory, request, timeout)
    if isinstance(answer, Refused):
        raise error_class(answer.exit_code)(answer.message, hint=answer.hint)
    return answer


def _receive(sock: socket.socket, deadline: float) -> Answer:
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size, deadline))
    if length > MAX_ANSWER_BYTES:
        raise EOFError
    answer: Answer = msgspec.msgpack.decode(_exactly(sock, length, deadline), type=Answer)
    return answer


def _exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < count:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([sock], [], [], left)[0]:
            raise TimeoutError
        if not (part := sock.recv(count - len(data))):
            raise EOFError
        data += part
    return bytes(data)
