"""Errors that a person reads, each with the exit code that a script reads.

::

    HyperionError
    ├── UsageError             2   the command line asks for something that cannot be
    ├── NotRunningError        3   nothing runs that could be asked (LSB's code for ``status``)
    ├── BadKeyError           65   a key, or a file that should hold one, is not usable
    ├── ConfigMissingError    66   there is no configuration file
    ├── UnreachableError      69   a server, or an address to listen on, cannot be had
    ├── InternalError         70   a bug of ours
    ├── ChildError            70   a child process could not be started or kept alive
    ├── CannotCreateError     73   a file that should be written cannot be
    ├── TemporaryError        75   trying again may help
    ├── ProtocolMismatchError 76   the peer speaks something else
    ├── RefusedError          77   rights are missing, or the peer said no
    └── ConfigError           78   the configuration file says something that cannot work

The codes are those of sysexits.h, which systemd knows by name; together with 0 (fine), 1 (at least one server or check
failed) and 130 (Ctrl-C) they are a promise to scripts, frozen by a test. What goes wrong inside a protocol machine is
``hyperion.proto.errors``; how an error is printed is the business of ``hyperion.cli``.
"""

import errno
from typing import ClassVar

#: What shells report for a program that a signal ended, 128 and its number: SIGINT, and SIGPIPE (which has no name on
#: Windows). Not errors: a person pressed Ctrl-C, or whoever read our output has left.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

#: No room: on the disk, and of descriptors or memory.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)})
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class HyperionError(Exception):
    """What went wrong, in one line, and what to do about it.

    ``message`` is lower case, without a full stop, and never holds a secret. ``hint`` is the next thing to try, or
    ``None``. Line breaks and other control characters in them are escaped, so that a file name cannot forge a line.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = one_line(message)
        super().__init__(self.message)
        self.hint = None if hint is None else one_line(hint)

    def __str__(self) -> str:
        return self.message


class UsageError(HyperionError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class NotRunningError(HyperionError):
    """Nothing runs that could be asked."""

    exit_code = 3


class BadKeyError(HyperionError):
    """A key is not usable: its text, its file, or the rights on its file."""

    exit_code = 65


class ConfigMissingError(HyperionError):
    """There is no configuration file at the place named."""

    exit_code = 66


class UnreachableError(HyperionError):
    """A server does not answer, or an address cannot be bound or resolved."""

    exit_code = 69


class InternalError(HyperionError):
    """A bug of ours."""

    exit_code = 70


class ChildError(HyperionError):
    """A child process could not be started, or did not stay."""

    exit_code = 70


class CannotCreateError(HyperionError):
    """A file that should be written cannot be."""

    exit_code = 73


class TemporaryError(HyperionError):
    """It did not work now; trying again may help."""

    exit_code = 75


class ProtocolMismatchError(HyperionError):
    """The peer speaks another protocol, or another version of it."""

    exit_code = 76


class RefusedError(HyperionError):
    """Rights are missing, or the peer said no."""

    exit_code = 77


class ConfigError(HyperionError):
    """The configuration says something that cannot work. A restart without an edit would fail in the same way."""

    exit_code = 78


def error_class(exit_code: int) -> type[HyperionError]:
    """The class of an error that another process reported by its exit code; ``InternalError`` for one that is none."""
    ours = [kind for kind in HyperionError.__subclasses__() if kind.exit_code == exit_code]
    return ours[0] if ours else InternalError


def reason_of(error: OSError) -> str:
    """The system's words, as the end of a message."""
    return (error.strerror or "unknown error").lower()


def of_the_system(error: OSError) -> HyperionError | None:
    """What a refusal of the operating system that nobody expected means to a person; ``None`` if it is no refusal but a
    bug of ours. Names the file, and shows nothing else of the error."""
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    what = where + reason_of(error)
    if error.errno in _NO_SPACE:
        return CannotCreateError(what, hint="make room there, or choose another place")
    if error.errno in _NO_ROOM:
        return TemporaryError(what, hint="end something else, or raise the limit: ulimit -n")
    if isinstance(error, PermissionError):
        return RefusedError(what, hint="ask as root, with sudo, or as the owner")
    return None


def one_line(text: str) -> str:
    """``text`` with every character that is not printable written as its escape, so that it stays one honest line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
