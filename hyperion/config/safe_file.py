"""Files that appear whole or not at all: written beside their place, flushed to the disk, then put there.

Knows files, owners, modes, links and locks. Refuses to know what is in them. Source: security notes, B64.
"""

import contextlib
import os
import secrets
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hyperion.errors import CannotCreateError, TemporaryError, reason_of
from hyperion.paths import absolute

if sys.platform != "win32":
    import fcntl

OWNER_ONLY = 0o600
DIRECTORY_MODE = 0o700

#: Largest file that is edited, bytes. Nobody writes more by hand.
MAX_EDITED_BYTES = 1024 * 1024

#: Seconds that one edit waits for another, which takes milliseconds.
LOCK_TIMEOUT = 5.0
_LOCK_INTERVAL = 0.02

# Not on Windows, where opening a link, a pipe or a child's inheritance are other matters.
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def to_the_end() -> Iterator[None]:
    """SIGHUP (a login is cut) and SIGTERM wait until this is over.

    They would end us at once, with a secret lying about, or one file of two written. Ctrl-C is an exception, and what
    it leaves is cleaned up.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, which has no such signals either
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@to_the_end()
def create(
    path: Path, content: bytes, *, replace: bool = False, mode: int = OWNER_ONLY, hint: str | None = None
) -> None:
    """Writes ``content`` so that a reader sees all of it or nothing, and nobody sees it whom ``mode`` leaves out.

    A link at ``path`` is not followed: it counts as an existing file, and ``replace`` replaces the link itself.
    What root replaces stays its owner's: the key of a service is that service's user's, whoever makes a new one.
    Raises ``CannotCreateError`` (with ``hint``, if the file exists); what was at ``path`` is then as it was.
    """
    temporary = _beside(path)
    try:
        make_directory(path.parent)
        _write_new(temporary, content, mode, _predecessor(path) if replace else None)
        try:
            _put_in_place(temporary, path, replace=replace)
        except FileExistsError:
            raise CannotCreateError(f"{path} exists already", hint=hint) from None
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise CannotCreateError(f"{path} cannot be written: {reason_of(error)}") from None


def make_directory(path: Path) -> None:
    """With all that lie above it, for the owner only as far as they are new, whatever the umask. Raises ``OSError``."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=DIRECTORY_MODE)
        path.chmod(DIRECTORY_MODE)  # a strict umask would keep its owner out, too
    if not path.is_dir():
        raise FileExistsError(17, "File exists")


def set_aside(path: Path, suffix: str) -> Path | None:
    """Gives what is at ``path`` a second name, ``path`` plus ``suffix``; ``None`` if there is nothing.

    Raises ``CannotCreateError``.
    """
    kept = path.with_name(path.name + suffix)
    try:
        os.link(path, kept, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotCreateError(f"{path} cannot be kept as {kept}: {reason_of(error)}") from None
    return kept


@dataclass(frozen=True, slots=True)
class Original:
    """A file that is to be edited: where it really lies, what it holds, and what it was when it was read; ``status`` is
    ``None`` for one that does not exist yet."""

    path: Path
    content: bytes
    status: os.stat_result | None


def read_original(path: Path) -> Original:
    """The file behind ``path``, over links. Raises ``CannotCreateError`` for what cannot be edited."""
    real = absolute(path, resolve=True)
    try:
        fd = os.open(real, os.O_RDONLY | _CLOEXEC | _NOFOLLOW | _NONBLOCK)
    except FileNotFoundError:
        return Original(real, b"", None)
    except OSError as error:
        raise CannotCreateError(f"{path} cannot be read: {reason_of(error)}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise CannotCreateError(f"{path} is not a regular file")
    with os.fdopen(fd, "rb") as file:
        content = file.read(MAX_EDITED_BYTES + 1)
    if len(content) > MAX_EDITED_BYTES:
        raise CannotCreateError(f"{path} has more than {MAX_EDITED_BYTES} bytes")
    return Original(real, content, status)


@to_the_end()
def rewrite(original: Original, content: bytes, check: Callable[[bytes], None]) -> None:
    """Puts ``content`` in the original's place, with its mode and owner.

    ``check`` is given what can be read back before it is put there; what it raises stops everything. Raises
    ``CannotCreateError``, and ``TemporaryError`` if somebody else changed the file since it was read. Then the file is
    as it was.
    """
    path = original.path
    temporary = _beside(path)
    mode = OWNER_ONLY if original.status is None else stat.S_IMODE(original.status.st_mode)
    try:
        make_directory(path.parent)
        _write_new(temporary, content, mode, original.status)
        try:
            check(temporary.read_bytes())
            if _identity(_status(path)) != _identity(original.status):
                raise TemporaryError(f"{path} was changed by somebody else meanwhile", hint="try again")
            _put_in_place(temporary, path, replace=original.status is not None)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise CannotCreateError(f"{path} cannot be written: {reason_of(error)}") from None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """While this holds no other edit of ours happens there. Raises ``TemporaryError``, ``CannotCreateError``."""
    if sys.platform == "win32":
        yield  # no such lock there; ``rewrite`` still notices most of what happens meanwhile
        return
    try:
        fd = os.open(directory, os.O_RDONLY | _CLOEXEC)
    except OSError as error:
        raise CannotCreateError(f"{directory} cannot be opened: {reason_of(error)}") from None
    try:
        _lock(fd, directory)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, directory: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TemporaryError(f"another command holds {directory}", hint="try again") from None
            time.sleep(_LOCK_INTERVAL)
        else:
            return


def _predecessor(path: Path) -> os.stat_result | None:
    """The file there, if root is about to replace it, and whoever owns it could have put one there himself."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    try:
        status = path.lstat()
        directory = path.parent.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or directory.st_uid not in (0, status.st_uid):
        return None
    # In root's /tmp anybody may have put it there, to be given what comes.
    return None if directory.st_uid == 0 and directory.st_mode & stat.S_IWOTH else status


def _beside(path: Path) -> Path:
    """In the same directory, because only there a rename is atomic."""
    return path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"


def _write_new(path: Path, content: bytes, mode: int, like: os.stat_result | None = None) -> None:
    """First for the owner only: nobody reads it before it is complete, and a strange umask may have left us nothing."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW, OWNER_ONLY)
    try:
        with os.fdopen(fd, "wb") as file:
            if hasattr(os, "fchmod"):
                if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), like.st_uid, like.st_gid)
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # whoever interrupts it must not leave a secret lying about
        path.unlink(missing_ok=True)
        raise


def _put_in_place(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(path)
    elif os.name == "nt":
        temporary.rename(path)  # there, a rename refuses an existing name
    else:
        os.link(temporary, path)  # refuses an existing name, also against a race


def _sync_directory(directory: Path) -> None:
    """Without this a power cut may forget the new name. Windows cannot open a directory."""
    if os.name == "nt":
        return
    fd = os.open(directory, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _identity(status: os.stat_result | None) -> tuple[int, ...] | None:
    if status is None:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
