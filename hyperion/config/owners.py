"""Whose files we take for our own, and who must be able to read them. Knows users, and nothing of what is in a file."""

import os

try:
    import pwd
except ImportError:  # Windows has no such list, and no numbers of users either
    pwd = None  # type: ignore[assignment]


def trusted_owners() -> set[int]:
    """Ourselves, root, and for root the user who called ``sudo``."""
    owners = {0, os.geteuid()}
    caller = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and caller.isascii() and caller.isdigit():
        owners.add(int(caller))
    return owners


def who_reads(error: OSError) -> str | None:
    """A hint where the system refused to let us read: root may have become another user meanwhile."""
    if not isinstance(error, PermissionError) or not hasattr(os, "geteuid"):
        return None
    uid = os.geteuid()
    if not _has_name(uid):  # root took it for want of a service user (``hyperion.service_user``)
        return f"uid {uid} runs this, which has no name and may read no secret; a restart by root reads it"
    return f"user {uid}, who runs this, must be able to read it"


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return False
    return True
