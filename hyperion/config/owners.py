"""Whose files we take for our own, and who must be able to read them. Knows users, and nothing of what is in a file."""

import os


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
    return f"user {os.geteuid()}, who runs this, must be able to read it"
