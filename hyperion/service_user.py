"""Which user the programs run as when root starts them.

Knows the system's list of users. Changes nothing: becoming that user is the business of ``privileges``.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from hyperion.errors import UsageError

try:
    import pwd
except ImportError:  # Windows has no such list
    pwd = None  # type: ignore[assignment]

#: Who serves on a machine where nobody prepared anything. It owns no file, so it can read no key either.
NOBODY = "nobody"


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
    not root; else nobody, with a warning. ``None`` where no user can be changed: we are not root.

    Raises ``UsageError`` for a user that does not exist, or that only root could become.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        _only_ourselves(asked)
        return None
    if asked is not None:
        return _look_up(asked)
    if (user := _find(default)) is not None:
        return user
    owner = config_file.stat().st_uid
    if owner != 0:
        return _of_uid(owner)
    hint = f"make a user {default}, who may read {config_file} and its keys, or choose one with --user"
    return _look_up(NOBODY, warning=f"there is no user {default}, so {NOBODY} serves: {hint}")


def _only_ourselves(asked: str | None) -> None:
    if asked is not None and (pwd is None or _look_up(asked).uid != os.geteuid()):
        raise UsageError(f"only root can become user {asked}", hint="leave out --user, or start it as root")


def _look_up(name: str, warning: str | None = None) -> ServiceUser:
    user = _find(name, warning)
    if user is None:
        raise UsageError(f"there is no user {name}", hint=f"make one: useradd --system {name}")
    return user


def _find(name: str, warning: str | None = None) -> ServiceUser | None:
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, warning)


def _of_uid(uid: int) -> ServiceUser:
    try:
        return _look_up(pwd.getpwuid(uid).pw_name)
    except KeyError:  # an owner without a name (a container's, a file server's)
        return ServiceUser(f"uid {uid}", uid, uid, (uid,))
