"""The runtime directory of a program that runs: its lock, its process id, its operator socket.

Knows how a directory is made that nobody else can enter, and how one of two programs that start at once finds out that
it is the second. Refuses to know what is asked over the socket. ``hyperion.running`` is the side of those who ask.

Made while we still have the rights that we were started with, and given to the user that we become.
"""

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from hyperion.errors import CannotCreateError, reason_of
from hyperion.paths import SYSTEM_RUNTIME
from hyperion.running import LOOK_SECONDS, PID_FILE, SOCKET_FILE, is_silent_stranger, read_pid
from hyperion.socket_path import short

try:
    import fcntl
except ImportError:  # Windows: no daemon there
    fcntl = None  # type: ignore[assignment]

#: Nobody else may enter, and nobody else may connect.
DIRECTORY_MODE = 0o700
SOCKET_MODE = 0o600
#: Of a directory that holds those of several users.
SHARED_MODE = 0o755

#: The replay memory of a server's gate: the one file that stays from one start to the next.
REPLAY_FILE = "knocks"

#: Seconds that a taken lock is tried again: whoever only looks holds it for microseconds.
LOCK_PATIENCE = 0.25
#: Callers that the kernel holds until we accept them.
BACKLOG = 16

#: Whether this system has what it takes.
AVAILABLE = fcntl is not None and hasattr(socket, "AF_UNIX")


class AlreadyRunningError(CannotCreateError):
    """Another program of this kind runs with this configuration. ``pid``: its process id, 0 if it is not known yet.

    ``stranger``: the directory, if it is another user who holds its lock, and who does not answer as such a program.
    """

    def __init__(self, title: str, pid: int, stranger: Path | None = None) -> None:
        which = f"pid {pid}" if pid else "just starting"
        message, hint = f"{title} is already running ({which})", f"{title} status shows it"
        if stranger is not None:
            file = stranger / PID_FILE
            message = f"another user holds the lock {file}, and does not answer as {title}"
            hint = f"it is just starting, or no Hyperion: fuser -v {file} shows it; end it, or rm -r {stranger}"
        super().__init__(message, hint=hint)
        self.pid = pid


class Residence:
    """Held from ``enter`` to ``leave``. Children do not inherit the lock."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self._lock = lock
        self._socket: socket.socket | None = None

    @classmethod
    def enter(cls, directory: Path, title: str, owner: tuple[int, int] | None = None) -> Self:
        """Makes the directory and takes its lock. ``owner``: user and group that it is given to (we are root then).

        Raises ``AlreadyRunningError``, or ``CannotCreateError`` if the directory cannot be had or is not ours alone.
        """
        try:
            _make(directory, owner)
            lock = _take(directory, title, owner)
            try:
                _write_pid(lock)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise CannotCreateError(f"{directory} cannot be used: {reason_of(error)}") from None
        return cls(directory, lock)

    def listen(self, owner: tuple[int, int] | None = None) -> socket.socket:
        """The operator socket, in place of whatever a dead program left there. Raises ``CannotCreateError``."""
        path = self.directory / SOCKET_FILE
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            with short(path) as name, _private():
                sock.bind(name)
            if owner is not None:
                _give(path, owner)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise CannotCreateError(f"{path} cannot be listened on: {reason_of(error)}") from None
        sock.setblocking(False)
        self._socket = sock
        return sock

    def leave(self) -> None:
        """Nobody is here any more. The files go while the lock is held, so nobody loses what is theirs."""
        for name in (SOCKET_FILE, PID_FILE):
            with contextlib.suppress(OSError):
                (self.directory / name).unlink()
        remove_empty(self.directory)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_empty(directory: Path) -> None:
    """Removes the directory, if we may and nothing is in it: it may be the service manager's, or lie where only root
    removes anything. Who became another user leaves it, and root's next command takes it away."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def clean_up(directory: Path) -> bool:
    """Removes what a program that died left there; False if one runs, or nothing was left."""
    if fcntl is None:
        return False
    try:
        fd = os.open(directory / PID_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = _is_at(fd, directory / PID_FILE)
    except OSError:
        ours = False
    if not ours:  # somebody lives there, or another one has cleaned up, and somebody may have moved in
        os.close(fd)
        return False
    Residence(directory, fd).leave()
    return True


def _make(directory: Path, owner: tuple[int, int] | None) -> None:
    for parent in reversed(directory.parents):
        if not parent.exists():
            with contextlib.suppress(FileExistsError):
                _make_parent(parent, owner)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(DIRECTORY_MODE)
    # By descriptor: what is checked here is what is changed.
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        allowed = {os.geteuid()} | ({owner[0]} if owner is not None else set())
        # Root may have started it before as another user, and gets it back.
        if status.st_uid not in allowed and os.geteuid() != 0:
            raise CannotCreateError(
                f"{directory} belongs to another user", hint="remove it, or set HYPERION_HOME to a directory of yours"
            )
        if owner is not None:
            os.fchown(fd, *owner)
            _pass_on(fd, status.st_uid, owner)
        elif os.geteuid() == 0 != status.st_uid:
            os.fchown(fd, 0, -1)
            _pass_on(fd, status.st_uid, (0, -1))
        if stat.S_IMODE(status.st_mode) != DIRECTORY_MODE:
            os.fchmod(fd, DIRECTORY_MODE)
    finally:
        os.close(fd)


def _pass_on(directory: int, before: int, owner: tuple[int, int]) -> None:
    """The memory of knocks, which the user before us left there: whoever serves now must be able to go on with it.

    Only that user's own file: he could put any other one in its place, and would be given what is not his.
    """
    if before == owner[0]:
        return
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(REPLAY_FILE, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == before:
                os.chown(f"/proc/self/fd/{fd}", *owner)
        finally:
            os.close(fd)


def _make_parent(parent: Path, owner: tuple[int, int] | None) -> None:
    """Whoever we become must still get through it, whatever the umask was."""
    parent.mkdir(DIRECTORY_MODE)
    if parent == SYSTEM_RUNTIME:
        parent.chmod(SHARED_MODE)
    elif owner is not None:
        os.chown(parent, *owner)


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """What is made while this holds is nobody else's from the first moment on. Of the whole process: at the start there
    is nobody else in it."""
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        yield
    finally:
        os.umask(before)


def _give(path: Path, owner: tuple[int, int]) -> None:
    """The socket that we just made there. The directory is ``owner``'s already, who may have put a link to something
    else in its place: what is looked at is what is given away."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "somebody put something else in its place")
        # By descriptor; fchown refuses one that was opened as a place only.
        os.chown(f"/proc/self/fd/{fd}", *owner)
    finally:
        os.close(fd)


def _take(directory: Path, title: str, owner: tuple[int, int] | None) -> int:
    """The locked file. One that was removed between our open and our lock is not the one that others see."""
    path = directory / PID_FILE
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, SOCKET_MODE)
        try:
            _check_plain(fd, path)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_uid not in {os.geteuid(), *(() if owner is None else owner[:1])}:
                # Of the user that it was run as before, who may still have it open, to write to it or to hold it.
                path.unlink()
            if owner is not None:
                os.fchown(fd, *owner)
            if _is_at(fd, path):
                return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                pid = read_pid(fd)
                os.close(fd)
                raise AlreadyRunningError(title, pid, directory if is_silent_stranger(directory) else None) from None
            time.sleep(LOOK_SECONDS)
        except FileNotFoundError:
            pass  # removed just now: once more
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _write_pid(lock: int) -> None:
    """The number is for people, but a disk that has no room for it has none for the memory of knocks either."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _check_plain(fd: int, path: Path) -> None:
    """It is about to be emptied, and given away: it must be no other file under a second name."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise CannotCreateError(f"{path} is not a plain file of its own", hint="remove it")


def _is_at(fd: int, path: Path) -> bool:
    status = os.fstat(fd)
    return bool(status.st_nlink) and os.path.samestat(status, os.stat(path, follow_symlinks=False))
