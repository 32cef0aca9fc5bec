"""The worker's side of transparent mode: a listener for each port of the server, on the device of the mirror.

Knows the device's name and addresses, which ports the server allows, and who listens for which of them. Refuses to know
packets: what arrives here is a connection like any other, made by an application that believes it talks to the server.

A server that tells its ports has a listener for each of them. An older one tells nothing: then listeners are opened as
applications ask for ports, and the server says yes or no to each connection.

Nothing but the device leads to these listeners: they are bound to it and to its addresses. Binding to a device needs no
right since Linux 5.7.

Source: DESIGN section 6.
"""

import errno
import socket
from collections.abc import Callable, Iterable

from hyperion import log
from hyperion.events import DIAGNOSTIC
from hyperion.proto.control import DeviceUp, Listeners
from hyperion.worker.counters import Counters
from hyperion.worker.forward import Forward, ForwardedStream
from hyperion.worker.poller import Poller
from hyperion.worker.pool import Pool

#: Ports of one server that have listeners at once: as many as a server can tell (``extensions.MAX_PORTS``). When an old
#: server's are more, the one that has gone without a connection for longest makes room.
MAX_PORTS = 256

#: A port is the same for both address families; so often is another one tried where one of them has it already.
_ATTEMPTS = 16

#: ``socket.SO_BINDTODEVICE`` where there is one.
_BIND_TO_DEVICE = getattr(socket, "SO_BINDTODEVICE", None)


class TransparentPorts:
    """The listeners of one server. ``tell`` hears of every change of them; ``drained`` as for ``Forward.start``."""

    def __init__(
        self,
        pool: Pool,
        poller: Poller,
        server: str,
        counters: Counters,
        tell: Callable[[Listeners], None],
        drained: Callable[[], None],
    ) -> None:
        self._context = (pool, poller, server, counters)
        self._tell = tell
        self._drained = drained
        self._device = ""
        self._addresses: tuple[str, ...] = ()
        self._allowed: frozenset[int] | None = None
        # By remote port, the one asked for last at the end.
        self._ports: dict[int, _Port] = {}
        # Connections outlive their listener.
        self._closed: list[Forward] = []
        self._complained = False

    @property
    def streams(self) -> list[ForwardedStream]:
        """Those that are under way."""
        self._closed = [forward for forward in self._closed if forward.streams]
        forwards = [*self._closed, *(forward for port in self._ports.values() for forward in port.forwards)]
        return [stream for forward in forwards for stream in forward.streams]

    def device_up(self, device: DeviceUp) -> None:
        """There is a device, or another one: listen on it, for what is known to be wanted."""
        wanted = list(self._ports)
        self._close_all()
        self._device, self._addresses = device.name, device.addresses
        self._complained = False
        self._open(self._allowed if self._allowed is not None else wanted)
        self._report()

    def device_down(self) -> None:
        """It is gone, and with it whoever was connected over it: no packet will ever tell."""
        self._device, self._addresses = "", ()
        for stream in self.streams:
            stream.end("device-down")
        self._close_all()

    def allow(self, ports: Iterable[int] | None) -> None:
        """What the server lets us reach, as last heard; ``None`` if it tells nothing."""
        allowed = None if ports is None else frozenset(ports)
        if allowed == self._allowed:
            return
        self._allowed = allowed
        if not self._device:
            return
        if allowed is not None:
            # One in use stays until its connections have ended; the server says no to new ones.
            for port in [port for port, known in self._ports.items() if port not in allowed and known.is_idle]:
                self._close(port)
            self._open(allowed)
        self._report()

    def want(self, port: int) -> None:
        """An application asks for this port of a server that told nothing. Told again, there is an answer again."""
        if not self._device or (self._allowed is not None and port not in self._allowed):
            return
        if port not in self._ports and len(self._ports) >= MAX_PORTS and not self._make_room():
            return
        self._open([port])
        self._report()

    def close(self) -> None:
        """Accept no more."""
        self._close_all()
        self._device = ""

    # --- inside

    def _open(self, ports: Iterable[int]) -> None:
        for port in sorted(ports)[:MAX_PORTS]:
            if port in self._ports:
                self._ports[port] = self._ports.pop(port)
                continue
            try:
                listeners = listen_on_device(self._device, self._addresses)
            except OSError as error:
                self._complain(error)
                return
            forwards = [self._new_forward(port) for _ in listeners]
            self._ports[port] = _Port(int(listeners[0].getsockname()[1]), forwards)
            for forward, listener in zip(forwards, listeners, strict=True):
                forward.start(listener, self._drained)

    def _new_forward(self, port: int) -> Forward:
        pool, poller, server, counters = self._context
        return Forward(pool, poller, server, self._device, port, counters)

    def _make_room(self) -> bool:
        for port, known in self._ports.items():
            if known.is_idle:
                self._close(port)
                return True
        return False

    def _close(self, port: int) -> None:
        forwards = self._ports.pop(port).forwards
        for forward in forwards:
            forward.close()
        self._closed += [forward for forward in forwards if forward.streams]

    def _close_all(self) -> None:
        for port in list(self._ports):
            self._close(port)

    def _report(self) -> None:
        pairs = tuple((port, known.listener) for port, known in self._ports.items())
        self._tell(Listeners(closed=self._allowed is not None, ports=pairs))

    def _complain(self, error: OSError) -> None:
        """Once for a device: an old kernel refuses each of them in the same way."""
        if not self._complained:
            self._complained = True
            message = f"nothing can listen on {self._device}: transparent mode does not reach this server"
            log.event(DIAGNOSTIC, log.error_fields(error), message=message, level="error")


class _Port:
    """One remote port: where its listeners are, one for each address of the device."""

    __slots__ = ("forwards", "listener")

    def __init__(self, listener: int, forwards: list[Forward]) -> None:
        self.listener = listener
        self.forwards = forwards

    @property
    def is_idle(self) -> bool:
        """Nobody is connected."""
        return not any(forward.streams for forward in self.forwards)


def listen_on_device(device: str, addresses: Iterable[str]) -> list[socket.socket]:
    """A bound socket for each address, all on the same free port; reachable over ``device`` only.

    Raises ``OSError``: the device is gone, or the kernel is older than 5.7 and wants a right for it.
    """
    for _ in range(_ATTEMPTS):
        port, bound = 0, list[socket.socket]()
        try:
            for address in addresses:
                bound.append(_bind(device, address, port))
                port = int(bound[0].getsockname()[1])
            return bound
        except OSError as error:
            for sock in bound:
                sock.close()
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free on all addresses")


def _bind(device: str, address: str, port: int) -> socket.socket:
    if _BIND_TO_DEVICE is None:
        raise OSError(errno.ENOSYS, "only Linux binds to devices")
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, device.encode())
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
