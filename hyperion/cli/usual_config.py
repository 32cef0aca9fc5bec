"""Which configuration is meant if none is named: also by root, who most often is somebody else with ``sudo`` in front.

Order: the configuration directory; for root that of the user who called ``sudo``, then the one of the systemd units.
Knows owners and modes: root does not follow a file that others could have written.
"""

import functools
import os
import stat
import sys
from pathlib import Path

from hyperion.config.owners import trusted_owners
from hyperion.errors import RefusedError
from hyperion.paths import CONFIG_NAMES, Program, callers_config, config_directory, is_root, system_config

OTHERS_MAY_WRITE = 0o022


def usual_config(program: Program) -> Path:
    """The file; the first place of all if there is none anywhere.

    Raises ``RefusedError`` if root would have to trust a file that others may write to.
    """
    first = config_directory() / CONFIG_NAMES[program]
    if first.exists() or not is_root() or os.environ.get("HYPERION_HOME"):
        return first
    of_caller = callers_config(program)
    if of_caller is not None and of_caller.exists():
        _trust(of_caller.parent)
        _trust(of_caller)
        _tell(of_caller, os.environ.get("SUDO_USER") or "the user")
        return of_caller
    system = system_config(program)
    return system if system.exists() else first


@functools.cache
def _tell(path: Path, user: str) -> None:
    """Once, however often a command looks."""
    print(f"configuration: {path}\n               (of {user} who called sudo)", file=sys.stderr)


def _trust(path: Path) -> None:
    status = path.stat()
    if status.st_uid not in trusted_owners():
        raise RefusedError(
            f"{path} belongs to another user than the one who called sudo", hint="name the file with --config FILE"
        )
    if status.st_mode & OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise RefusedError(f"{path} can be written to by others (mode {mode:04o})", hint=f"chmod go-w {path}")
