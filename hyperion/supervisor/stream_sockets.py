"""The client's stream sockets: a directory of this process, one Unix listening socket for each server, and the index.

Knows files, their rights, and what a process that was killed left behind. Refuses to know who accepts (the workers are
handed the sockets) and what is said on them. The layout is ``hyperion.rendezvous``.
"""

import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hyperion import log
from hyperion.errors import CannotCreateError
from hyperion.events import STREAMS_UNAVAILABLE
from hyperion.rendezvous import AVAILABLE, INDEX, LOCK, PREFIX, Meeting, render_index
from hyperion.socket_path import short
from hyperion.supervisor.sockets import BACKLOG

try:
    import fcntl
except ImportError:  # Windows, which has no Unix sockets that could hand over descriptors either
    fcntl = None  # type: ignore[assignment]

#: Only for the user of this process.
PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


class BoundStream(NamedTuple):
    """A server's socket, and where it lies."""

    path: Path
    sock: socket.socket


class StreamSockets:
    """The sockets of one client. ``prepare`` and ``commit`` are the two halves of a reload."""

    def __init__(self, runtime: Path) -> None:
        """Makes the directory, below ``runtime``, and removes those of clients that are gone.

        Raises ``CannotCreateError``.
        """
        try:
            make_private(runtime)
            remove_stale(runtime)
            self.directory = runtime / f"{PREFIX}{os.getpid()}"
            self.directory.mkdir(mode=PRIVATE_DIRECTORY)
            self._lock = _take_lock(self.directory)
        except OSError as error:
            raise _explain(runtime, error) from error
        self._bound: dict[str, BoundStream] = {}
        self._made = 0

    def prepare(self, names: Iterable[str]) -> dict[str, socket.socket]:
        """A socket for each name; those that are there already stay. Raises ``CannotCreateError``."""
        wanted = list(names)
        try:
            for name in wanted:
                if name not in self._bound:
                    self._bound[name] = self._bind()
        except OSError as error:
            raise _explain(self.directory, error) from error
        return {name: self._bound[name].sock for name in wanted}

    def meetings(self, addresses: Mapping[str, tuple[str, ...]]) -> list[Meeting]:
        """Where these servers are met, all of them prepared; with the addresses that stand for them."""
        return [Meeting(name, str(self._bound[name].path), each) for name, each in addresses.items()]

    def commit(self, addresses: Mapping[str, tuple[str, ...]]) -> list[Meeting]:
        """From now on just these servers. Raises ``CannotCreateError``."""
        for name in [name for name in self._bound if name not in addresses]:
            self._remove(self._bound.pop(name))
        meetings = self.meetings(addresses)
        try:
            _replace(self.directory / INDEX, render_index(meetings))
        except OSError as error:
            raise _explain(self.directory, error) from error
        return meetings

    def close(self) -> None:
        """Stops listening and leaves nothing behind."""
        for bound in self._bound.values():
            self._remove(bound)
        self._bound.clear()
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    def _bind(self) -> BoundStream:
        path = self.directory / str(self._made)
        self._made += 1
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short(path) as name:
                sock.bind(name)
            path.chmod(PRIVATE_FILE)  # before anybody can connect: nobody listens yet, and the directory is private
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        return BoundStream(path, sock)

    @staticmethod
    def _remove(bound: BoundStream) -> None:
        bound.sock.close()
        bound.path.unlink(missing_ok=True)


def open_streams(runtime: Path, *, required: bool) -> StreamSockets | None:
    """``None``, and a line in the log, where there can be none: forwards work without. Raises ``CannotCreateError``
    instead if they are ``required``."""
    try:
        return _make(runtime)
    except CannotCreateError as error:
        if required:
            raise
        log.event(STREAMS_UNAVAILABLE, log.error_fields(error))
        return None


def _make(runtime: Path) -> StreamSockets:
    if not AVAILABLE or fcntl is None:
        raise CannotCreateError("this system has no Unix sockets that hand over descriptors")
    return StreamSockets(runtime)


def callers(config_file: Path) -> tuple[int, ...]:
    """Users who may call: we, root, and the owner of the configuration, who gave us the keys."""
    users = {0, os.geteuid()}
    with contextlib.suppress(OSError):
        users.add(config_file.stat().st_uid)
    return tuple(sorted(users))


def make_private(directory: Path) -> None:
    """``directory`` exists, is ours and nobody else's. Raises ``OSError``.

    Not followed if it is a link: in a place that others can write to, it could lead anywhere.
    """
    if not directory.parent.is_dir():
        make_private(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=PRIVATE_DIRECTORY)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(0, "it is not a directory of this user")
    if found.st_mode & 0o077:
        raise PermissionError(0, f"others may use it: chmod 700 {directory}")


def remove_stale(runtime: Path) -> None:
    """Removes what clients left that did not end in order: their lock is free."""
    for directory in runtime.glob(f"{PREFIX}*"):
        if directory.is_dir() and not directory.is_symlink() and not _is_held(directory):
            shutil.rmtree(directory, ignore_errors=True)


def _is_held(directory: Path) -> bool:
    if directory.name == f"{PREFIX}{os.getpid()}":
        return False  # of an earlier process with our number
    try:
        lock = _take_lock(directory)
    except OSError:
        return True
    os.close(lock)
    return False


def _take_lock(directory: Path) -> int:
    """Held until the process ends, however it ends. Raises ``OSError`` if somebody else has it."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _replace(path: Path, text: str) -> None:
    """At once: a reader sees the old text or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(PRIVATE_FILE)
    fresh.replace(path)


def _explain(where: Path, error: OSError) -> CannotCreateError:
    return CannotCreateError(
        f"cannot make stream sockets in {where}: {error.strerror or type(error).__name__}",
        hint="HYPERION_HOME or XDG_RUNTIME_DIR names another place",
    )
