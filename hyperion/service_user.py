"""Which user the programs run as when root starts them.

Knows the system's list of users. Changes nothing: becoming that user is the business of ``privileges``.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from hyperion import capabilities
from hyperion.capabilities import Capability
from hyperion.errors import RefusedError, UsageError

try:
    import pwd
except ImportError:  # Windows has no such list
    pwd = None  # type: ignore[assignment]

#: Made for the two programs by deploy/sysusers.d.
SERVICE_USERS = ("hyperion", "hyperion-client")
#: Who serves on a machine where nobody prepared anything. It owns no file, so it can read no key either.
NOBODY = "nobody"

#: Seconds that an interpreter has to start as another user; it takes a few hundredths of one.
TRIAL_SECONDS = 20.0
_TRIAL = (sys.executable, "-I", "-c", "import hyperion.privileges")


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user with all of his groups. ``warning``: why this one is second best, and what would be better."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    warning: str | None = None


def find_service_user(asked: str | None, default: str, config_file: Path) -> ServiceUser | None:
    """The user that was ``asked`` for; else ``default`` if there is one; else the owner of ``config_file`` if that is
    not root; else nobody, with a warning. ``None`` where no user can be changed: we are not root, or root without the
    rights for it (a container).

    A user that was not asked for and cannot run this program (it is installed in a home directory) is passed over: root
    serves, without root's rights, and with a warning. Raises ``UsageError`` for a user that does not exist or that only
    root could become, ``RefusedError`` for one that was asked for, or made for this, and cannot run the program.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not _may_change():
        _only_ourselves(asked)
        return None
    wanted = _look_up(asked) if asked is not None else _find(default)
    if wanted is not None:
        if not can_run(wanted):
            hint = "install Hyperion where that user can run it, such as /opt/hyperion, or choose another with --user"
            raise RefusedError(f"user {wanted.name} cannot run {sys.executable}", hint=hint)
        return wanted
    owner = config_file.stat().st_uid
    user = _of_uid(owner) if owner != 0 else _look_up(NOBODY)
    advice = f"make a user {default}, who may read {config_file} and its keys, or choose one with --user"
    if not can_run(user):
        why = f"{user.name} cannot run {sys.executable}"
        return replace(_of_uid(0), warning=f"root serves, without root's rights, because {why}: {advice}")
    return user if owner != 0 else replace(user, warning=f"there is no user {default}, so {NOBODY} serves: {advice}")


def can_run(user: ServiceUser) -> bool:
    """Whether this user can start our interpreter and load our code. Asked by doing it, 30 ms; only root can."""
    if user.uid == 0:
        return True
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter, an argument vector, no shell)
            _TRIAL,
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def uid_of(name: str) -> int | None:
    """The number of the user of this name, ``None`` if there is none."""
    user = None if pwd is None else _find(name)
    return None if user is None else user.uid


def service_uids() -> frozenset[int]:
    """The users made for the two programs, as far as they exist."""
    return frozenset(uid for name in SERVICE_USERS if (uid := uid_of(name)) is not None)


def _may_change() -> bool:
    return sys.platform != "linux" or {Capability.SETUID, Capability.SETGID} <= capabilities.read().permitted


def _only_ourselves(asked: str | None) -> None:
    if asked is not None and (pwd is None or _look_up(asked).uid != os.geteuid()):
        raise UsageError(f"only root can become user {asked}", hint="leave out --user, or start it as root")


def _look_up(name: str) -> ServiceUser:
    user = _find(name)
    if user is None:
        raise UsageError(f"there is no user {name}", hint=f"make one: useradd --system {name}")
    return user


def _find(name: str) -> ServiceUser | None:
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


def _of_uid(uid: int) -> ServiceUser:
    try:
        return _look_up(pwd.getpwuid(uid).pw_name)
    except KeyError:  # an owner without a name (a container's, a file server's)
        return ServiceUser(f"uid {uid}", uid, uid, (uid,))
