"""A system that has no descriptor left to watch a process with."""

import errno
import os

import pytest


def refuse_to_watch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on no process can be watched; the list grows by the process that somebody wanted to watch."""
    seen: list[int] = []

    def refuse(pid: int) -> int:
        seen.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    return seen
