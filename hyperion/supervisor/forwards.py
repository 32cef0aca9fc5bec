"""The client's local listeners: which socket belongs to which forward, and which survive a reload.

Knows sockets and forwards. Refuses to know who accepts on them.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from hyperion.config import Endpoint, ForwardEntry
from hyperion.errors import HyperionError
from hyperion.supervisor.resolve import LookUp, resolve
from hyperion.supervisor.sockets import close_all, listen, port_of


@dataclass(frozen=True, slots=True)
class BoundForward:
    """A forward and its listening socket."""

    entry: ForwardEntry
    sock: socket.socket

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        return str(Endpoint(self.entry.local.host, port_of(self.sock)))


def bind_forwards(
    entries: Sequence[ForwardEntry], held: Sequence[BoundForward] = (), look_up: LookUp = resolve
) -> list[BoundForward]:
    """A socket for each of ``entries``, in their order; from ``held`` where one fits, so that it never stops listening.

    All or nothing: if one address cannot be had, what was bound here is closed again and ``HyperionError`` raised.
    """
    bound: list[BoundForward] = []
    fresh: list[socket.socket] = []
    try:
        for entry, kept in _choose(entries, held):
            sock = kept
            if sock is None:
                sock = listen(entry.local, look_up)
                fresh.append(sock)
            bound.append(BoundForward(entry, sock))
    except HyperionError:
        close_all(fresh)
        raise
    return bound


def unbound_forwards(entries: Sequence[ForwardEntry], held: Sequence[BoundForward]) -> list[Endpoint]:
    """Where ``bind_forwards`` would have to listen anew."""
    return [entry.local for entry, kept in _choose(entries, held) if kept is None]


def _choose(
    entries: Sequence[ForwardEntry], held: Sequence[BoundForward]
) -> list[tuple[ForwardEntry, socket.socket | None]]:
    """The socket of ``held`` that each gets, if any: first the same forwards get theirs, then the same addresses."""
    left = list(held)
    exact = [_take(entry, left, exact=True) for entry in entries]
    return [(entry, sock or _take(entry, left, exact=False)) for entry, sock in zip(entries, exact, strict=True)]


def _take(entry: ForwardEntry, left: list[BoundForward], *, exact: bool) -> socket.socket | None:
    """Out of ``left``: the same forward, or (if not ``exact``) one on the same address that now leads elsewhere.

    "Any free port" is no address: a forward to another place gets another port, so that nobody is led astray.
    """
    for index, forward in enumerate(left):
        same_address = forward.entry.local == entry.local and entry.local.port != 0
        if forward.entry == entry or (same_address and not exact):
            return left.pop(index).sock
    return None
