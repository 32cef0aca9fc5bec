"""The files of a new installation: all of them, or none; and what was there before is kept.

Knows names and order. Refuses to know what is in the files.
"""

import contextlib
import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperion.config.safe_file import create, set_aside, to_the_end
from hyperion.errors import CannotCreateError


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


@to_the_end()
def put(files: Sequence[NewFile], *, replace: bool, now: datetime.datetime) -> list[Path]:
    """Writes them, for the owner only. The new names of what was there before; nothing of it is lost.

    Raises ``CannotCreateError``; then everything is as it was.
    """
    suffix = now.strftime(".%Y%m%dT%H%M%SZ.old")
    kept: dict[Path, Path | None] = {}
    try:
        for file in files if replace else ():
            kept[file.path] = set_aside(file.path, suffix)
        for file in files:
            create(file.path, file.text.encode("utf-8"), replace=replace)
    except BaseException:  # whoever interrupts it wants no half of it either
        for file in files:
            with contextlib.suppress(OSError):
                _put_back(file, kept.get(file.path))
        raise
    return [path for path in kept.values() if path is not None]


def _put_back(file: NewFile, before: Path | None) -> None:
    """Raises ``OSError``; then both names are there, and nothing is lost."""
    if before is None:
        # Judged by its text: the failure may have come before it was written, behind it, or from another one's file.
        if file.path.read_bytes() == file.text.encode("utf-8"):
            file.path.unlink()
    elif _same(file.path, before):
        before.unlink()  # it was not replaced; and renaming one name of a file to another does nothing (rename(2))
    else:
        before.replace(file.path)


def _same(path: Path, other: Path) -> bool:
    """Two names of one file; a link is not followed."""
    return os.path.lexists(path) and os.path.samestat(path.lstat(), other.lstat())
