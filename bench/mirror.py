"""tund without a tunnel: the bulk service listens behind the device itself. What turning packets round costs.

Starts ``tund`` as the client's supervisor does, with a control socket as descriptor 3. On demand the shortcut through
the kernel is taken away, so that each packet goes through ``tund``.
"""

import os
import socket
import sys
import threading
from types import TracebackType
from typing import Self

from pyroute2 import IPRoute

from bench.bulk import Address
from bench.child import ChildError
from bench.peers import START_TIMEOUT
from bench.service import accept_bulk
from hyperion.framing import encode
from hyperion.proto.control_tund import DeviceSettings, TargetState, TundConfig

#: Of the service, as its clients see it.
PORT = 7_000

CONTROL_FD = 3


class Mirror:
    """A context manager; ``address`` leads to the bulk service. ``shortcut``: packets may take it."""

    def __init__(self, *, shortcut: bool = True) -> None:
        self._shortcut = shortcut
        # Apart from the client's own, from each other and from those of ``wireguard`` and ``sshuttle``.
        self._device, net = ("mirror0", "10.98.0") if shortcut else ("mirror1", "10.93.0")
        self._own, self._server = f"{net}.1", f"{net}.10"
        self.address: Address = (self._server, PORT)

    def __enter__(self) -> Self:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_TIMEOUT)
        command = [sys.executable, "-m", "hyperion.tund"]
        with theirs:
            actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), CONTROL_FD)]
            self._pid = os.posix_spawn(sys.executable, command, dict(os.environ), file_actions=actions)
        self._control.sendall(encode(TundConfig(DeviceSettings(self._device, f"{self._own}/24", None, 65_535))))
        if not self._control.recv(4096):
            raise ChildError("tund ended at once")
        if not self._shortcut:
            with IPRoute() as route:
                route.tc("delete", "clsact", route.link_lookup(ifname=self._device)[0])
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._device.encode())
        self._listener.bind((self._own, 0))
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()
        listener = int(self._listener.getsockname()[1])
        self._control.sendall(encode(TargetState("mirror", (self._server,), True, True, ((PORT, listener),))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()
        os.waitpid(self._pid, 0)
        self._listener.close()

    def _serve(self) -> None:
        try:
            accept_bulk(self._listener)
        except OSError:
            return  # closed
