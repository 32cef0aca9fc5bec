"""Where a running client can be met: its directory of stream sockets, and how to call one of its workers.

Each client has a directory ``streams-PID`` of its own below the runtime directory, so that two of them do not quarrel;
in it one socket for each server, the file ``index`` with their names, and ``lock``, held as long as the client lives.
The names are in a file because a server's name may have 64 characters of anything printable, and a Unix socket's path
has at most 107 bytes.

Knows that layout and the call (``hyperion.proto.handover``). Refuses to know who binds and who answers. Imported by
``nc``, whose start-up somebody waits for, so it imports little.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from hyperion.proto.handover import encode_handover
from hyperion.socket_path import short

#: Whether this system has what stream sockets need: Unix sockets that can hand over descriptors.
AVAILABLE = hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")

#: Name of a client's directory, in front of its process id.
PREFIX = "streams-"
INDEX = "index"
LOCK = "lock"

#: ``struct timeval``: seconds and microseconds.
_TIMEVAL = struct.Struct("ll")

#: Longest index that is read, bytes: more servers than anybody has.
MAX_INDEX_BYTES = 1024 * 1024

#: Appended to a server's name where something wants a domain name.
SUFFIX = ".hyperion"


class Meeting(NamedTuple):
    """One server of a running client: its name, the socket of its worker, and the addresses that stand for it."""

    name: str
    path: str
    addresses: tuple[str, ...] = ()


def render_index(meetings: Iterable[Meeting]) -> str:
    """One line for each: file name, server name, addresses, separated by spaces (which a name does not have)."""
    return "".join(
        " ".join((os.path.basename(meeting.path), meeting.name, *meeting.addresses)) + "\n" for meeting in meetings
    )


def read_index(directory: str) -> list[Meeting]:
    """What ``render_index`` wrote there; nothing if there is nothing to read."""
    try:
        with open(os.path.join(directory, INDEX), encoding="utf-8") as file:
            lines = file.read(MAX_INDEX_BYTES).splitlines()
    except (OSError, UnicodeError):
        return []
    words = [line.split(" ") for line in lines]
    return [Meeting(word[1], os.path.join(directory, word[0]), tuple(word[2:])) for word in words if len(word) > 1]


def meetings(runtime_directories: Iterable[str]) -> list[Meeting]:
    """Of every client that runs, or did, the one started last first."""
    found: list[tuple[float, str]] = []
    for runtime in runtime_directories:
        with contextlib.suppress(OSError), os.scandir(runtime) as entries:
            found += [
                (entry.stat().st_mtime, entry.path)
                for entry in entries
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
            ]
    return [meeting for _, directory in sorted(found, reverse=True) for meeting in read_index(directory)]


def matching(name: str, candidates: Iterable[Meeting]) -> list[Meeting]:
    """Those that ``name`` means: the name as it is; else in any case (ssh lowers it) and with ``.hyperion``; else an
    address."""
    everything = list(candidates)
    exact = [meeting for meeting in everything if meeting.name == name]
    if exact:
        return exact
    folded = fold(name)
    return [meeting for meeting in everything if folded == fold(meeting.name)] or [
        meeting for meeting in everything if name in meeting.addresses
    ]


def fold(name: str) -> str:
    """What is equal for two spellings of one name."""
    return name.casefold().removesuffix(".").removesuffix(SUFFIX)


def call(meeting: Meeting, port: int, local: socket.socket, preamble: bytes = b"", *, patience: float) -> socket.socket:
    """Asks for a stream to ``port`` and hands ``local`` over; on the socket returned come answer and ending.

    Blocks for microseconds; where the kernel already holds as many callers as it takes, because their worker hangs, for
    ``patience`` seconds at most. With 0 never, and the socket returned does not block either. Raises
    ``BlockingIOError`` then, and another ``OSError`` where nobody listens.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _be_patient(control, patience)
        with short(meeting.path) as path:
            control.connect(path)
        ask(control, port, local, preamble)
    except BaseException:
        control.close()
        raise
    return control


def ask(control: socket.socket, port: int, local: socket.socket, preamble: bytes = b"") -> None:
    """The request of a call. Raises ``OSError`` if nobody is there any more."""
    socket.send_fds(control, [encode_handover(port, preamble)], [local.fileno()])


def _be_patient(control: socket.socket, seconds: float) -> None:
    """The kernel's own deadline (unix(7)): with one of Python's, a full queue is an error at once."""
    if seconds == 0:
        control.setblocking(False)
        return
    whole = int(seconds)
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(whole, int((seconds - whole) * 1_000_000)))
