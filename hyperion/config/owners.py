"""Whose files we take for our own. Knows users, and nothing of what is in a file."""

import os


def trusted_owners() -> set[int]:
    """Ourselves, root, and for root the user who called ``sudo``."""
    owners = {0, os.geteuid()}
    caller = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and caller.isascii() and caller.isdigit():
        owners.add(int(caller))
    return owners
