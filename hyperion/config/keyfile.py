"""Files that hold one secret: only their owner may read them, and they are never half written.

Knows files, owners and modes. Does not know what a key is: text goes in and out.
"""

import os
import secrets
import stat
from pathlib import Path

from hyperion.errors import BadKeyError, CannotCreateError

#: A key file holds 44 characters; anything longer is the wrong file. Bytes.
MAX_KEY_FILE_BYTES = 4096

OWNER_ONLY = 0o600
OTHERS = 0o077

# Not on Windows, where opening a link, a pipe or a child's inheritance are other matters.
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def read_secret(path: Path) -> str:
    """The text of a key file.

    Raises ``BadKeyError`` if it is missing, is no regular file, belongs to somebody else, or is open to others at all.
    A symbolic link is followed: what counts is the file that is opened.
    """
    try:
        # Non-blocking, so that a named pipe cannot hold us up before it is refused.
        fd = os.open(path, os.O_RDONLY | _CLOEXEC | _NONBLOCK)
    except FileNotFoundError:
        raise BadKeyError(f"no key file {path}", hint=f"make one with keygen -o {path}") from None
    except OSError as error:
        raise BadKeyError(f"key file {path} cannot be read: {_reason(error)}") from None
    try:
        _check(path, os.fstat(fd))
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
    directory = path.parent
    # In the same directory, because only there a rename is atomic.
    temporary = directory / f".{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(temporary, text.encode("ascii"))
        try:
            _put_in_place(temporary, path, replace=replace)
        except FileExistsError:
            hint = "choose another name; --force replaces it, and the old key is lost"
            raise CannotCreateError(f"{path} exists already", hint=hint) from None
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(directory)
    except OSError as error:
        raise CannotCreateError(f"{path} cannot be written: {_reason(error)}") from None


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadKeyError(f"key file {path} is not a regular file")
    if not hasattr(os, "geteuid"):
        return  # Windows: rights are access lists, and mode bits mean nothing
    if status.st_uid not in {0, os.geteuid()}:
        raise BadKeyError(f"key file {path} belongs to another user", hint=f"chown {os.geteuid()} {path}")
    if status.st_mode & OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise BadKeyError(f"key file {path} is open to others (mode {mode:04o})", hint=f"chmod 600 {path}")


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW, OWNER_ONLY)
    try:
        with os.fdopen(fd, "wb") as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), OWNER_ONLY)  # a strange umask may have left us nothing
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
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


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()
