"""Makes marked sockets for workers, which hold no capability: a packet of a marked socket is the tunnel's own.

A worker asks over a socket of its own with two letters and a number that the answer repeats; the answer carries the new
socket. Marking needs CAP_NET_ADMIN, which is in effect for that one call only. Knows nothing of who connects where.

Source: DESIGN section 6; socket(7), SO_MARK.
"""

import asyncio
import socket
from collections.abc import Iterable

from hyperion import log, privileges
from hyperion.capabilities import Capability
from hyperion.events import INTERNAL_ERROR
from hyperion.proto.control import MARK_REQUEST_BYTES

_FAMILIES = {b"4": socket.AF_INET, b"6": socket.AF_INET6}
_KINDS = {b"t": socket.SOCK_STREAM, b"u": socket.SOCK_DGRAM}

#: ``socket.SO_MARK`` where there is one.
_SO_MARK = getattr(socket, "SO_MARK", None)


class Marker:
    """``mark``: what is put on sockets; ``None``: nothing is, and nobody needs a desk."""

    def __init__(self, mark: int | None) -> None:
        self._mark = mark
        self._desks: dict[str, tuple[socket.socket, socket.socket]] = {}
        #: Our ends of desks whose worker has no successor.
        self._parting: set[socket.socket] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_needed(self) -> bool:
        """Sockets are to be marked."""
        return self._mark is not None

    def open(self) -> None:
        """From now on the running loop answers."""
        self._loop = asyncio.get_running_loop()
        for ours, _ in self._desks.values():
            self._loop.add_reader(ours, self._answer, ours)

    def close(self) -> None:
        """Answers no more."""
        for ours, theirs in self._desks.values():
            self._part(ours)
            theirs.close()
        for ours in list(self._parting):
            self._part(ours)
        self._desks.clear()

    def desk(self, name: str) -> socket.socket:
        """Where the worker of this name asks; the same one for each of its lives."""
        if name not in self._desks:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            self._desks[name] = ours, theirs
            if self._loop is not None:
                self._loop.add_reader(ours, self._answer, ours)
        return self._desks[name][1]

    def keep(self, names: Iterable[str]) -> None:
        """From now on only these have a desk. A worker that still drains is answered until it leaves."""
        kept = set(names)
        for name in [name for name in self._desks if name not in kept]:
            ours, theirs = self._desks.pop(name)
            theirs.close()
            if self._loop is None:
                ours.close()
            else:
                self._parting.add(ours)

    def _answer(self, desk: socket.socket) -> None:
        """One request; what is none is not answered, and whoever sent it waits in vain."""
        try:
            request = desk.recv(MARK_REQUEST_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            request = b""
        if not request and desk in self._parting:  # the last one who could ask has left
            self._part(desk)
            return
        assert self._mark is not None
        family, kind = _FAMILIES.get(request[:1]), _KINDS.get(request[1:2])
        if len(request) != MARK_REQUEST_BYTES or family is None or kind is None:
            return
        try:
            with make_marked(family, kind, self._mark) as sock:
                socket.send_fds(desk, [request], [sock.fileno()])
        except OSError as error:
            log.event(INTERNAL_ERROR, log.error_fields(error))

    def _part(self, desk: socket.socket) -> None:
        self._parting.discard(desk)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(desk)
        desk.close()


def make_marked(family: int, kind: int, mark: int) -> socket.socket:
    """Raises ``OSError``; ``PermissionError`` without CAP_NET_ADMIN in the permitted set."""
    sock = socket.socket(family, kind)
    try:
        with privileges.raised(Capability.NET_ADMIN):
            assert _SO_MARK is not None
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
    except BaseException:
        sock.close()
        raise
    return sock
