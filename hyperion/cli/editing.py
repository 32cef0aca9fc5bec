"""A configuration file while a command changes it: locked, read, and later read back before it is put in place.

Knows the order of things. Refuses to know what is changed, and what the file then should say.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from hyperion import running
from hyperion.config.safe_file import Original, locked, read_original, rewrite
from hyperion.errors import ConfigMissingError, InternalError, RefusedError
from hyperion.paths import Program


@contextlib.contextmanager
def editing(path: Path, program: Program) -> Iterator[Original]:
    """The file as it is now; until the block ends no other command of ours changes it.

    Raises ``ConfigMissingError`` if there is none, ``CannotCreateError``, ``TemporaryError``.
    """
    if not path.exists():
        raise ConfigMissingError(f"no configuration file {path}", hint=f"hyperion-{program} init makes one")
    with locked(read_original(path).path.parent):
        yield read_original(path)


def text_of(original: Original) -> str:
    """Its lines as they end, its byte order mark if there is one. Call it after the content was checked."""
    return original.content.decode("utf-8")


def put(path: Path, original: Original, text: str, says: Callable[[bytes], bool]) -> None:
    """Puts ``text`` in place if what can be read back ``says`` what it should. Raises ``InternalError``, what ``says``
    raises, and what ``rewrite`` raises; then the file is as it was."""

    def check(content: bytes) -> None:
        if not says(content):
            raise InternalError(f"{path}: the edit would not say what it should", hint="nothing was changed")

    rewrite(original, text.encode("utf-8"), check)


def runs(program: Program, config_file: Path | None) -> bool:
    """Whether the program runs with this file; True also if we may not know."""
    try:
        return running.find(program, config_file) is not None
    except RefusedError:
        return True
