"""Which user the programs run as when root starts them.

Knows the system's list of users. Changes nothing: becoming that user is the business of ``privileges``.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hyperion import capabilities
from hyperion.capabilities import Capability
from hyperion.errors import RefusedError, UsageError

try:
    import grp
    import pwd
except ImportError:  # Windows has no such lists
    grp = pwd = None  # type: ignore[assignment]

#: Made for the two programs by deploy/sysusers.d.
SERVICE_USERS = ("hyperion", "hyperion-client")
#: Shared by many programs, and by what the kernel cannot name: good for nobody who has something to keep.
NOBODY = "nobody"
#: Who serves on a machine where nobody prepared anything: for each of the two, the first of these numbers that has no
#: name there. Between the users that are given out (to 60,000, systemd's own to 60,577) and those that systemd makes up
#: (from 61,184), so that no other process has it: only root can become a user without a name. It owns no file and can
#: read no key.
OWN_NUMBERS = {"hyperion": range(60_800, 61_100, 2), "hyperion-client": range(60_801, 61_100, 2)}

#: Seconds that an interpreter has to start as another user; it takes a few hundredths of one.
TRIAL_SECONDS = 20.0
#: Loads our code, and says which of the places named as arguments this user cannot get at: directories to pass through,
#: anything else to read and write.
_TRIAL_CODE = """
import os, sys, hyperion.privileges
for name in sys.argv[1:]:
    if not os.access(name, os.X_OK if os.path.isdir(name) else os.R_OK | os.W_OK):
        print(name)
"""
_TRIAL = (sys.executable, "-I", "-c", _TRIAL_CODE)


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user with all of his groups. ``warning``: why this one is second best, and what would be better."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    warning: str | None = None


class Hindrance(NamedTuple):
    """Why a user cannot be who serves, as the rest of a sentence that begins with his name; and what would help."""

    why: str
    help: str


def find_service_user(
    asked: str | None, default: str, config_file: Path, *, owner_first: bool = False, places: Sequence[Path] = ()
) -> ServiceUser | None:
    """The user that was ``asked`` for; else ``default`` if there is one; else the owner of ``config_file`` if that is
    not root (``owner_first``: he goes before ``default``); else a number without a name (``OWN_NUMBERS``), with a
    warning. Never nobody, unless asked for, with a warning: each of the processes of that user could use the tunnels
    and command the program. ``None`` where no user can be changed: we are not root, or root without the rights for it
    (a container).

    ``places``: directories that he must get through, and other files that he must read and write. A user that was not
    asked for and cannot, or cannot run this program (it is installed in a home directory), is passed over: root serves,
    without root's rights, and with a warning. Raises ``UsageError`` for a user that does not exist or that only root
    could become, ``RefusedError`` for one that was asked for, or made for this, and cannot serve.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not _may_change():
        _only_ourselves(asked)
        return None
    owner = config_file.stat().st_uid
    made_for_this = None if owner_first and owner != 0 else _find(default)
    wanted = made_for_this if asked is None else _look_up(asked)
    if wanted is not None:
        if (hindrance := hindrance_of(wanted, places)) is not None:
            hint = f"{hindrance.help}, or choose another with --user"
            raise RefusedError(f"user {wanted.name} {hindrance.why}", hint=hint)
        return wanted if wanted.name != NOBODY or owner == wanted.uid else replace(wanted, warning=_shared(default))
    user = _of_uid(owner) if owner != 0 else _own_number(default)
    advice = f"useradd --system {default}, who may read {config_file} and its keys, or choose a user with --user"
    if user is None:
        return replace(_of_uid(0), warning=f"root serves, without root's rights: {advice}")
    if (hindrance := hindrance_of(user, places)) is not None:
        advice = f"{hindrance.help}, and {advice}" if owner == 0 else f"{hindrance.help}, or choose a user with --user"
        why = f"{user.name} {hindrance.why}"
        return replace(_of_uid(0), warning=f"root serves, without root's rights, because {why}: {advice}")
    if owner != 0:
        return user
    cost = f"there is no user {default}, so {user.name} serves, which is no other's; it cannot read {config_file} again"
    return replace(user, warning=f"{cost}, for a reload: {advice}")


def _shared(default: str) -> str:
    return (
        f"{NOBODY} is shared: each process of {NOBODY} on this machine may use this program's tunnels, stop it and "
        f"undo what it guards; better: useradd --system {default}"
    )


def _own_number(default: str) -> ServiceUser | None:
    """``None`` if all of them are taken."""
    numbers = (uid for uid in OWN_NUMBERS[default] if not _has_name(uid))
    uid = next(numbers, None)
    return None if uid is None else ServiceUser(f"uid {uid}", uid, uid, (uid,))


def _has_name(number: int) -> bool:
    for look in (pwd.getpwuid, grp.getgrgid):
        try:
            look(number)
        except KeyError:
            continue
        return True
    return False


def hindrance_of(user: ServiceUser, places: Sequence[Path] = ()) -> Hindrance | None:
    """What keeps this user from starting our interpreter with our code, and from ``places``; ``None``: nothing.

    Asked by doing it, 30 ms; only root can.
    """
    if user.uid == 0:
        return None
    cannot_run = Hindrance(
        f"cannot run {sys.executable}", "install Hyperion where that user can run it, such as /opt/hyperion"
    )
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter, an argument vector, no shell)
            [*_TRIAL, *map(str, places)],
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return cannot_run
    if done.returncode != 0:
        return cannot_run
    if (closed := done.stdout.partition("\n")[0]) != "":
        help_ = f"chmod 666 {closed}, as udev does" if closed.startswith("/dev/") else f"open the way to {closed}"
        return Hindrance(f"cannot use {closed}", help_)
    return None


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
