"""Rights at the start of a daemon: whether there are enough, and how the rest is given up.

Knows what a person should do about missing ones. The steps are in ``hyperion.privileges``.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from hyperion import log, privileges
from hyperion.capabilities import Capability, Rights
from hyperion.errors import RefusedError
from hyperion.events import DIAGNOSTIC
from hyperion.paths import SYSTEM_LOG
from hyperion.service_user import ServiceUser

#: Through the directory of logs, whose files are each for one user.
PASSABLE = 0o011


def require(needed: Rights, what: str) -> None:
    """Raises ``RefusedError`` if we do not hold what ``what`` needs."""
    missing = needed - privileges.held(needed)
    if missing:
        names = " and ".join(f"CAP_{Capability(number).name}" for number in sorted(missing))
        raise RefusedError(
            f"{what} needs {names}", hint="start it as root, or with the systemd unit, which gives it just that"
        )


def settler(
    user: ServiceUser | None,
    start_log: Callable[[], None],
    log_path: str | None = None,
    *,
    owns_directory: bool = True,
) -> Callable[[Rights], None]:
    """What becomes ``user`` and keeps only the rights it is given, permitted. Raises ``RefusedError``.

    ``start_log`` starts the log anew: its thread would keep the rights it was born with. ``log_path``: the file that
    we log to, which is given to ``user``; where it lies in the system's directory of logs, that as well, if
    ``owns_directory``: for a user who has other things to do, it is only opened to pass through.
    """

    def settle(keep: Rights) -> None:
        log.close()
        try:
            if user is not None and log_path is not None:
                _give(Path(log_path), user, owns_directory=owns_directory)
            privileges.drop_to(user, keep)
        except OSError as error:
            raise RefusedError(f"rights cannot be given up: {error.strerror or error}") from None
        start_log()
        if user is not None and user.warning is not None:
            log.event(DIAGNOSTIC, message=user.warning, level="warning")

    return settle


def _give(log_file: Path, user: ServiceUser, *, owns_directory: bool) -> None:
    """The file, and where it may make a new one after somebody moved the old one away."""
    # By descriptor: in a directory of that user's, a name may mean another file by now.
    fd = os.open(log_file, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise RefusedError(f"log {log_file} is not a plain file of its own", hint="move it away")
        os.fchown(fd, user.uid, user.gid)
    finally:
        os.close(fd)
    if log_file.parent != SYSTEM_LOG:
        return
    if owns_directory:
        os.chown(SYSTEM_LOG, user.uid, user.gid, follow_symlinks=False)
    else:
        os.chmod(SYSTEM_LOG, stat.S_IMODE(os.stat(SYSTEM_LOG).st_mode) | PASSABLE)
