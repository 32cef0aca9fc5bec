"""Whether a program runs, and how to ask it: the side of a command that is in a hurry.

A program that runs holds a lock on the file ``pid`` in its runtime directory for as long as it lives. The number in the
file is only for people, and for a signal when nobody answers; it counts only while the lock is held. A lock cannot be
left behind by a crash. Whoever owns the directory can hold it, also without being a program of ours, and write any
number: so a number is only ever taken for a process of that same user.

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
from hyperion.proto.operator import MAX_ANSWER_BYTES, Answer, Refused, Request, StatusRequest
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
#: Seconds that the holder of a lock in another user's directory may take to show that it is a program of ours.
STRANGER_SECONDS = 2.0
#: Longest number in the file, bytes.
MAX_PID_BYTES = 16

_LENGTH = struct.Struct(">I")


class Running(NamedTuple):
    """A program that runs: its directory, and its process id where it has written one yet."""

    directory: Path
    pid: int | None


class _Lock(NamedTuple):
    """A lock that is held: the number in its file, and the user who owns file and directory; ``None``: they differ."""

    pid: int
    uid: int | None


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
    lock = _look(directory)
    return None if lock is None else lock.pid


def is_silent_stranger(directory: Path) -> bool:
    """Whether we are root, another user holds the lock there, and nobody answers as a program of ours.

    Such a user once ran it, or was run it for, and was left the directory. Takes ``STRANGER_SECONDS`` at most.
    """
    lock = _look(directory) if is_root() else None
    if lock is None or lock.uid == 0:
        return False
    try:
        ask(directory, StatusRequest(), STRANGER_SECONDS)
    except (NotRunningError, TemporaryError):
        return True
    return False


def _look(directory: Path) -> _Lock | None:
    """The lock there, if anybody holds it. Raises ``RefusedError`` if we may not look."""
    if fcntl is None:
        return None
    try:
        # By descriptor: whose directory it is, is asked of the one that the file was found in.
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(PID_FILE, flags, dir_fd=directory_fd)
            uids = {os.fstat(directory_fd).st_uid, os.fstat(fd).st_uid}
        finally:
            os.close(directory_fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise RefusedError(f"{directory} is closed to you", hint="ask as root, with sudo") from None
    try:
        # A shared lock: two who look do not take each other for the program.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock(read_pid(fd), uids.pop() if len(uids) == 1 else None)
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
    behind the number is pinned down. And it must be a process of the user who owns the directory, and so can write any
    number: that user could signal it anyway. Between root's start and its becoming another user that is not so yet:
    ``False`` then. Raises ``RefusedError`` if we may not.
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
    lock = _look(directory)
    if lock is None or not lock.pid or lock.uid is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        pidfd = os.pidfd_open(lock.pid)
    except (OSError, OverflowError):  # gone; or no process id at all, whoever wrote it
        return None
    # Still the same: then the number meant this process when the descriptor was made.
    if _real_uid(lock.pid) == lock.uid and _lives(pidfd) and _look(directory) == lock:
        return pidfd
    os.close(pidfd)
    return None


def _real_uid(pid: int) -> int | None:
    """The user who started that process: who may signal it, whatever program it has become."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return None


def _lives(pidfd: int) -> bool:
    """Then its number was no other's since the descriptor was made."""
    return not select.select([pidfd], [], [], 0)[0]


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
