"""The SOCKS child of the client: its listeners, which survive a reload, and what it is told.

Knows sockets and places. Refuses to know the protocol.
"""

import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hyperion.config import Endpoint
from hyperion.config.settings import SocksEntry
from hyperion.errors import HyperionError
from hyperion.proto.control import LogSettings, SocksConfig, StreamPlace
from hyperion.rendezvous import Meeting
from hyperion.supervisor.resolve import LookUp, resolve
from hyperion.supervisor.sockets import close_all, listen, port_of
from hyperion.supervisor.spec import Spec

#: The child's name in the crew and in logs. No server can be called so.
SOCKS_NAME = "socks:"


class BoundSocks(NamedTuple):
    """A listener and its socket."""

    entry: SocksEntry
    sock: socket.socket

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        return str(Endpoint(self.entry.listen.host, port_of(self.sock)))


def bind_socks(
    entries: Sequence[SocksEntry], held: Sequence[BoundSocks] = (), look_up: LookUp = resolve
) -> list[BoundSocks]:
    """A socket for each of ``entries``; from ``held`` where one listens there already.

    All or nothing. Raises ``HyperionError``.
    """
    bound: list[BoundSocks] = []
    fresh: list[socket.socket] = []
    try:
        for entry, kept in _choose(entries, held):
            chosen = kept
            if chosen is None:
                chosen = BoundSocks(entry, listen(entry.listen, look_up))
                fresh.append(chosen.sock)
            bound.append(chosen)
    except HyperionError:
        close_all(fresh)
        raise
    return bound


def unbound_socks(entries: Sequence[SocksEntry], held: Sequence[BoundSocks]) -> list[Endpoint]:
    """Where ``bind_socks`` would have to listen anew."""
    return [entry.listen for entry, kept in _choose(entries, held) if kept is None]


def _choose(entries: Sequence[SocksEntry], held: Sequence[BoundSocks]) -> list[tuple[SocksEntry, BoundSocks | None]]:
    """The one of ``held`` that each gets, if any, and none twice."""
    left = list(held)
    chosen: list[tuple[SocksEntry, BoundSocks | None]] = []
    for entry in entries:
        kept = next((each for each in left if each.entry == entry), None)
        if kept is not None:
            left.remove(kept)
        chosen.append((entry, kept))
    return chosen


def socks_spec(entry: str, bound: Sequence[BoundSocks], servers: Iterable[Meeting], log: LogSettings) -> Spec:
    """The child that serves ``bound``; ``entry``: the workers' entry point."""
    return Spec(
        name=SOCKS_NAME,
        process_name="hyp-socks",
        entry=entry,
        config=SocksConfig(
            listeners=tuple(each.address for each in bound),
            servers=tuple(StreamPlace(*server) for server in servers),
            log=log,
        ),
        listeners=tuple(each.sock for each in bound),
    )
