"""Files that hold one secret: only their owner may read them, and they are never half written (``safe_file``).

Knows files, owners and modes. Does not know what a key is: text goes in and out.
"""

import contextlib
import os
import stat
from pathlib import Path

from hyperion.config.owners import trusted_owners, who_reads
from hyperion.config.safe_file import create
from hyperion.errors import BadKeyError, reason_of
from hyperion.service_user import service_uids, uid_of

#: A key file holds 44 characters; anything longer is the wrong file. Bytes.
MAX_KEY_FILE_BYTES = 4096

OTHERS = 0o077

#: Users that the command line named (``--user``).
_asked_for: set[int] = set()

# Not on Windows, where opening a link, a pipe or a child's inheritance are other matters.
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def read_secret(path: Path, named_by: Path | None = None) -> str:
    """The text of a key file. ``named_by``: the configuration that names it.

    Raises ``BadKeyError`` if it is missing, is no regular file, belongs to somebody else, or is open to others at all.
    A symbolic link is followed: what counts is the file that is opened. Root, who is about to become another user, also
    takes a key of the users that are made for this, and of whoever wrote the configuration.
    """
    try:
        # Non-blocking, so that a named pipe cannot hold us up before it is refused.
        fd = os.open(path, os.O_RDONLY | _CLOEXEC | _NONBLOCK)
    except FileNotFoundError:
        raise BadKeyError(f"no key file {path}", hint=f"make one with keygen -o {path}") from None
    except OSError as error:
        raise BadKeyError(f"key file {path} cannot be read: {reason_of(error)}", hint=who_reads(error)) from None
    try:
        _check(path, os.fstat(fd), named_by)
        content = os.read(fd, MAX_KEY_FILE_BYTES + 1)  # a regular file gives all it has at once
    finally:
        os.close(fd)
    if len(content) > MAX_KEY_FILE_BYTES or not content.isascii():
        raise BadKeyError(f"key file {path} does not hold a key")
    return content.decode("ascii")


def write_secret(path: Path, text: str, *, replace: bool = False) -> None:
    """Writes ``text`` so that a reader sees all of it or nothing, and nobody but the owner sees it at any time.

    A link at ``path`` is not followed: it counts as an existing file, and ``replace`` replaces the link itself.
    Raises ``CannotCreateError``; what was at ``path`` is then as it was.
    """
    hint = "choose another name; --force replaces it, and the old key is lost"
    create(path, text.encode("ascii"), replace=replace, hint=hint)


def trust_user(name: str | None) -> None:
    """For the rest of this process's life: root is about to become this user, whose keys are ours then."""
    if name is not None and (uid := uid_of(name)) is not None:
        _asked_for.add(uid)


def _check(path: Path, status: os.stat_result, named_by: Path | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadKeyError(f"key file {path} is not a regular file")
    if not hasattr(os, "geteuid"):
        return  # Windows: rights are access lists, and mode bits mean nothing
    if status.st_uid not in trusted_owners() | (_owners_for_root(named_by) if os.geteuid() == 0 else set()):
        raise BadKeyError(f"key file {path} belongs to another user", hint=f"chown {os.geteuid()} {path}")
    if status.st_mode & OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise BadKeyError(f"key file {path} is open to others (mode {mode:04o})", hint=f"chmod 600 {path}")


def _owners_for_root(named_by: Path | None) -> set[int]:
    owners = set(service_uids()) | _asked_for
    if named_by is not None:
        with contextlib.suppress(OSError):
            owners.add(named_by.stat().st_uid)
    return owners
