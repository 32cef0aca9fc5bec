"""Describes an exception without showing what the program was working on.

No local variables, no source lines, no chained exceptions: those hold secrets and peers' bytes. The text of an
exception is shown only if the exception was built from text and numbers alone; a ``UnicodeDecodeError`` carries the
bytes it choked on.
"""

from types import TracebackType
from typing import Final

from hyperion.errors import HyperionError, InternalError

#: Frames kept: the innermost, where it happened.
MAX_FRAMES: Final = 16


def error_fields(exc: BaseException) -> dict[str, object]:
    """``error.type``, ``error.message`` (if safe), ``error.stack_trace`` (``file:line function``, innermost last).

    One of our own errors says what it is in its message, and where it was raised helps nobody: it has no stack, unless
    it stands for a bug.
    """
    fields: dict[str, object] = {"error.type": type(exc).__name__}
    if exc.args and all(isinstance(part, str | int | None) for part in _parts(exc)):
        fields["error.message"] = _text(exc)
    foreseen = isinstance(exc, HyperionError) and not isinstance(exc, InternalError)
    stack = [] if foreseen else _stack(exc.__traceback__)
    if stack:
        fields["error.stack_trace"] = " > ".join(stack[-MAX_FRAMES:])
    return fields


def _parts(exc: BaseException) -> tuple[object, ...]:
    # An OSError hides its file names from its arguments, and shows their repr.
    return (*exc.args, exc.filename, exc.filename2) if isinstance(exc, OSError) else exc.args


def _text(exc: BaseException) -> str:
    # A class's own __str__ may show attributes, or fail; its arguments have been looked at.
    if type(exc).__str__ in (BaseException.__str__, OSError.__str__):
        return str(exc)
    return " ".join(str(argument) for argument in exc.args if argument is not None)


def _stack(traceback: TracebackType | None) -> list[str]:
    # Walked by hand: traceback.extract_tb opens source files, which a sandboxed worker may not do.
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{_short(code.co_filename)}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames


def _short(path: str) -> str:
    """The last two parts of a path: enough to find it, and the installation's layout stays out of the SIEM."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])
