"""Names of servers in the hosts file of this machine: a part of it that is ours, the rest is not touched.

Knows how the part is marked, and how a file is replaced so that no reader sees half of it and no other writer's change
is lost. Refuses to know which names, and when.

Each line of ours carries a mark of its own besides the two around them: whatever somebody did to the file meanwhile,
what is ours can be told from what is not.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from hyperion.errors import CannotCreateError, RefusedError, TemporaryError
from hyperion.paths import HOSTS_FILE

#: What is behind a server's name, so that no name of a real network is shadowed.
DOMAIN = "hyperion"

BEGIN = "# >>> hyperion-client >>> names of servers; gone when it stops"
END = "# <<< hyperion-client <<<"
TAG = "# hyperion-client"

#: Largest file that is edited, bytes: lists that block advertisements have some megabytes.
MAX_HOSTS_BYTES = 16 * 1024 * 1024
#: Times that we begin again because somebody else wrote the file.
MAX_ATTEMPTS = 5

#: What programs take for a name (RFC 1123, and the underscore that people use).
_LABELS = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*", re.ASCII)

Names = Iterable[tuple[str, str]]


def host_name(server: str) -> str | None:
    """``web1.hyperion`` for the server called ``web1``; ``None`` for a name that no program would look up."""
    name = server.lower()
    return f"{name}.{DOMAIN}" if _LABELS.fullmatch(name) else None


def put(text: str, names: Names) -> str:
    """``text`` with our part at its end, instead of any that was there. ``names``: pairs of address and name."""
    rest = remove(text)
    lines = [f"{address}\t{name} {TAG}\n" for address, name in names]
    if not lines:
        return rest
    gap = "" if not rest or rest.endswith("\n") else "\n"
    return f"{rest}{gap}{BEGIN}\n{''.join(lines)}{END}\n"


def remove(text: str) -> str:
    """``text`` without our part."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not _is_ours(line.rstrip()))


def write(names: Names, path: Path = HOSTS_FILE) -> bool:
    """Our part of the file becomes ``names``; none: it goes. False if there was nothing to change.

    Raises ``RefusedError`` where we may not, ``TemporaryError`` if others write it all the time, ``CannotCreateError``.
    """
    wanted = list(names)
    real = Path(os.path.realpath(path))
    try:
        for _ in range(MAX_ATTEMPTS):
            before, text = _read(real)
            changed = put(text, wanted)
            if changed == text:
                return False
            if _replace(real, changed, before):
                return True
    except PermissionError:
        raise RefusedError(f"{path} cannot be changed: permission denied", hint="--hosts needs root") from None
    except (OSError, UnicodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CannotCreateError(f"{path} cannot be changed: {detail}") from None
    raise TemporaryError(f"{path} is being changed by somebody else", hint="try again")


def _is_ours(line: str) -> bool:
    return line in {BEGIN, END} or (line.endswith(TAG) and not line.startswith("#"))


def _read(path: Path) -> tuple[os.stat_result, str]:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        content = file.read(MAX_HOSTS_BYTES + 1)
    if not stat.S_ISREG(status.st_mode) or len(content) > MAX_HOSTS_BYTES:
        raise OSError(errno.EFBIG, "it is no file of reasonable size")
    # Bytes of other encodings come back as they were.
    return status, content.decode("utf-8", "surrogateescape")


def _replace(path: Path, text: str, before: os.stat_result) -> bool:
    """False if somebody wrote the file since."""
    content = text.encode("utf-8", "surrogateescape")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            _like(file.fileno(), path, before)
            file.flush()
            os.fsync(file.fileno())
        now = os.stat(path)
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
            return False
        try:
            temporary.rename(path)
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.EXDEV}:
                raise
            # A container's: mounted over, so it can only be written into.
            path.write_bytes(content)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _like(descriptor: int, path: Path, status: os.stat_result) -> None:
    """Mode, labels and owner of the file that it replaces; the owner last, because only the owner changes the rest."""
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            os.setxattr(descriptor, name, os.getxattr(path, name))
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
