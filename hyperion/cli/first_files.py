"""The files of a new installation: all of them, or none; and what was there before is kept.

Knows names and order. Refuses to know what is in the files.
"""

import contextlib
import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperion.config.safe_file import create, set_aside
from hyperion.errors import CannotCreateError, HyperionError


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is to be written. Does not show its text: one of them is a secret."""

    path: Path
    text: str

    def __repr__(self) -> str:
        return f"NewFile({self.path})"


def refuse_existing(paths: Sequence[Path], hint: str) -> None:
    """Raises ``CannotCreateError`` if one of them is there, be it a dangling link."""
    for path in paths:
        if os.path.lexists(path):
            raise CannotCreateError(f"{path} exists already", hint=hint)


def put(files: Sequence[NewFile], *, replace: bool, now: datetime.datetime) -> list[Path]:
    """Writes them, for the owner only. The new names of what was there before; nothing of it is lost.

    Raises ``CannotCreateError``; then everything is as it was.
    """
    suffix = now.strftime(".%Y%m%dT%H%M%SZ.old")
    kept = {file.path: set_aside(file.path, suffix) for file in files} if replace else {}
    written: list[Path] = []
    try:
        for file in files:
            create(file.path, file.text.encode("utf-8"), replace=replace)
            written.append(file.path)
    except HyperionError:
        with contextlib.suppress(OSError):
            for path in written:
                _put_back(path, kept.get(path))
        raise
    return [path for path in kept.values() if path is not None]


def _put_back(path: Path, before: Path | None) -> None:
    if before is None:
        path.unlink()
    else:
        before.replace(path)
