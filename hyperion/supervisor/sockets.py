"""Sockets that the supervisor listens on for its children, and keeps: a child that dies takes no waiting client along.

Knows addresses, options and what the kernel's refusals mean to a person. Refuses to know who accepts, and
how a name becomes an address (``resolve``).
"""

import errno
import socket
import sys
from collections.abc import Iterable
from typing import Final, Protocol

from hyperion.config import Endpoint
from hyperion.errors import CannotCreateError, HyperionError, RefusedError
from hyperion.socket_filter import DROP_ALL, attach
from hyperion.supervisor.resolve import LookUp, resolve

#: Connections the kernel may hold for one socket until they are accepted: a burst of clients after a restart fits.
BACKLOG: Final = 1024

#: Only Linux spreads connections over the sockets of one port by a hash; elsewhere the last to bind gets them all.
SPREADS: Final = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")

#: Below this, Linux asks for a right (net.ipv4.ip_unprivileged_port_start, as it is set by default).
FIRST_FREE_PORT: Final = 1024


def listen_shared(endpoint: Endpoint, count: int, *, spread: bool = SPREADS, deaf: bool = False) -> list[socket.socket]:
    """``count`` listening sockets on one address, one for each worker; port 0 takes one free port for all.

    Where the kernel does not spread connections, the same socket ``count`` times. ``deaf``: from the first moment on
    they let nobody in (``shutter``; Linux only). Raises ``HyperionError``.
    """
    if not spread:
        return [_listen(endpoint, shared=False, deaf=deaf)] * count
    if endpoint.port != 0:
        # A socket that does not share its port is refused where anybody listens, also another server of the same user,
        # which could otherwise join the group unseen and take a part of the connections.
        _bind(endpoint, shared=False).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            # A port that the kernel chose is nobody else's.
            port = port_of(sockets[0]) if sockets else endpoint.port
            sockets.append(_listen(Endpoint(endpoint.host, port), shared=True, deaf=deaf))
    except HyperionError:
        close_all(sockets)
        raise
    return sockets


def require_free(endpoint: Endpoint, held: int) -> None:
    """Raises the ``HyperionError`` of ``listen_shared`` that a successor would meet here.

    As far as it can be told while its forerunner still listens on port ``held``.
    """
    try:
        _bind(endpoint, shared=False).close()
    except HyperionError as error:
        if (
            endpoint.port != held
            or not isinstance(error.__cause__, OSError)
            or error.__cause__.errno != errno.EADDRINUSE
        ):
            raise


def listen(endpoint: Endpoint, look_up: LookUp = resolve) -> socket.socket:
    """One listening socket of its own. ``look_up`` tells the address. Raises ``HyperionError``."""
    return _listen(endpoint, shared=False, look_up=look_up)


def port_of(sock: socket.socket) -> int:
    """The port a socket is bound to."""
    return int(sock.getsockname()[1])


def close_all(sockets: list[socket.socket]) -> None:
    """Closes them; the same one twice does no harm."""
    for sock in sockets:
        sock.close()


class Bound(Protocol):
    """A listener of some kind, with its socket."""

    @property
    def sock(self) -> socket.socket:
        """The one that it listens on."""


def close_unused(held: Iterable[Bound], used: Iterable[Bound]) -> None:
    """Closes the sockets of ``held`` that ``used`` does not use."""
    kept = {id(each.sock) for each in used}
    close_all([each.sock for each in held if id(each.sock) not in kept])


def _listen(endpoint: Endpoint, *, shared: bool, deaf: bool = False, look_up: LookUp = resolve) -> socket.socket:
    sock = _bind(endpoint, shared=shared, look_up=look_up)
    try:
        if deaf:
            attach(sock, DROP_ALL)
        sock.listen(BACKLOG)
    except OSError as error:  # somebody else was bound as well, and listened first
        sock.close()
        raise explain(error, endpoint) from error
    return sock


def _bind(endpoint: Endpoint, *, shared: bool, look_up: LookUp = resolve) -> socket.socket:
    family, address = look_up(endpoint)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # a kernel without IPv6
        raise explain(error, endpoint) from error
    try:
        _set_options(sock, endpoint, shared=shared)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise explain(error, endpoint) from error
    return sock


def _set_options(sock: socket.socket, endpoint: Endpoint, *, shared: bool) -> None:
    # On Windows this option would let anybody take over the port, and without it old connections do not block it.
    if sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        # "[::]" is how people write "everywhere", IPv4 included. Any other IPv6 address is just that.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if endpoint.host == "::" else 1)


def explain(error: OSError, endpoint: Endpoint) -> HyperionError:
    """What the kernel's refusal to listen means, and what to do about it."""
    what = f"cannot listen on {endpoint}"
    match error.errno:
        case errno.EADDRINUSE:
            return CannotCreateError(
                f"{what}: the address is in use", hint=f"another program listens on port {endpoint.port}; stop it"
            )
        case errno.EACCES | errno.EPERM if endpoint.port < FIRST_FREE_PORT:
            return RefusedError(
                f"{what}: permission denied",
                hint=f"ports below {FIRST_FREE_PORT} need root or CAP_NET_BIND_SERVICE, and are bound at the start: "
                "restart it, or take a higher port",
            )
        case errno.EACCES | errno.EPERM:
            return RefusedError(f"{what}: permission denied", hint="something forbids it: a sandbox, or a policy")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return CannotCreateError(f"{what}: this machine has no such address", hint="see the list: ip address")
        case errno.EMFILE | errno.ENFILE:
            return CannotCreateError(f"{what}: too many open files", hint="raise the limit: ulimit -n")
        case _:
            return CannotCreateError(f"{what}: {error.strerror or type(error).__name__}")
