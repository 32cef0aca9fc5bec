"""What a command prints on standard output, and what it means when that cannot be written."""

import os
import sys
from pathlib import Path

from hyperion.errors import CannotCreateError, reason_of


def say(text: str) -> None:
    """One line, out at once: scripts wait for it, and a person watches.

    Raises ``BrokenPipeError`` if the reader has left, ``CannotCreateError`` if it cannot be written for another reason.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        # What this terminal has no characters for is escaped: the name of a server must not end a command.
        # The line end in the same write, also where output is not buffered: a worker's log line may share the pipe.
        print(text.encode(encoding, "backslashreplace").decode(encoding) + "\n", end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_output()
        raise CannotCreateError(f"cannot write the output: {reason_of(error)}") from None


def shown(path: Path) -> str:
    """A path in a document: what is no UTF-8 in it is replaced, as JSON has only text."""
    return os.fsencode(path).decode("utf-8", "replace")


def forget_output() -> None:
    """Python flushes standard output at its end, and would complain once more about what could not be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
