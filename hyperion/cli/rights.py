"""Rights at the start of a daemon: whether there are enough, and how the rest is given up.

Knows what a person should do about missing ones. The steps are in ``hyperion.privileges``.
"""

import os
from collections.abc import Callable
from pathlib import Path

from hyperion import log, privileges
from hyperion.capabilities import Capability, Rights
from hyperion.errors import RefusedError
from hyperion.events import DIAGNOSTIC
from hyperion.paths import SYSTEM_LOG
from hyperion.service_user import ServiceUser


def require(needed: Rights, what: str) -> None:
    """Raises ``RefusedError`` if we do not hold what ``what`` needs."""
    missing = needed - privileges.held(needed)
    if missing:
        names = " and ".join(f"CAP_{Capability(number).name}" for number in sorted(missing))
        raise RefusedError(
            f"{what} needs {names}", hint="start it as root, or with the systemd unit, which gives it just that"
        )


def settler(
    user: ServiceUser | None, start_log: Callable[[], None], log_path: str | None = None
) -> Callable[[Rights], None]:
    """What becomes ``user`` and keeps only the rights it is given, permitted. Raises ``RefusedError``.

    ``start_log`` starts the log anew: its thread would keep the rights it was born with. ``log_path``: the file that
    we log to, which is given to ``user``.
    """

    def settle(keep: Rights) -> None:
        log.close()
        try:
            if user is not None and log_path is not None:
                _give(Path(log_path), user)
            privileges.drop_to(user, keep)
        except OSError as error:
            raise RefusedError(f"rights cannot be given up: {error.strerror or error}") from None
        start_log()
        if user is not None and user.warning is not None:
            log.event(DIAGNOSTIC, message=user.warning, level="warning")

    return settle


def _give(log_file: Path, user: ServiceUser) -> None:
    """The file, and where it may make a new one after somebody moved the old one away."""
    os.chown(log_file, user.uid, user.gid, follow_symlinks=False)
    if log_file.parent == SYSTEM_LOG:
        os.chown(SYSTEM_LOG, user.uid, user.gid, follow_symlinks=False)
