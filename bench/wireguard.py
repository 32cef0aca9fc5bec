"""wireguard-go between two network namespaces, for a look at what a user-space VPN costs. Only where it is installed.

``go install golang.zx2c4.com/wireguard@latest`` makes the program ``wireguard``; packages of distributions call it
``wireguard-go``. It is told its keys over its own socket, so no other tool is needed.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.child import Child, ChildError
from bench.service import accept_bulk

#: Names that the program goes by.
PROGRAMS = ("wireguard-go", "wireguard")
#: Where it listens for its configuration.
SOCKETS = Path("/var/run/wireguard")

NEAR, FAR = ("10.97.0.1", "10.96.0.1", 51_820), ("10.97.0.2", "10.96.0.2", 51_821)
START_SECONDS = 10.0
CLONE_NEWNET = 0x4000_0000


class WireGuard:
    """A context manager. ``missing``: why it cannot be measured, or nothing. ``serve`` gives the far end's address."""

    port = 7_001

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        self.missing = "" if self._program else "not installed: go install golang.zx2c4.com/wireguard@latest"
        self._namespace = f"hyb-{os.getpid()}"
        self._suffix = str(os.getpid() % 10_000)
        self._children: list[Child] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.stop()
        if self._listener is not None:
            self._listener.close()
            subprocess.run(["ip", "netns", "delete", self._namespace], capture_output=True, timeout=10)

    def serve(self) -> str:
        """Lays a wire to another namespace, a tunnel over it, and a bulk service at its end. Raises ChildError."""
        run("ip", "netns", "add", self._namespace)
        run("ip", "link", "add", "wire0", "type", "veth", "peer", "wire1", "netns", self._namespace)
        keys = [X25519PrivateKey.generate() for _ in (NEAR, FAR)]
        for side, (own, other) in enumerate(((NEAR, FAR), (FAR, NEAR))):
            prefix = () if side == 0 else ("ip", "netns", "exec", self._namespace)
            run(*prefix, "ip", "address", "add", f"{own[1]}/24", "dev", f"wire{side}")
            run(*prefix, "ip", "link", "set", f"wire{side}", "up")
            self._end(side, prefix, keys[side], keys[1 - side], own, other)
        self._listen()
        return FAR[0]

    def _end(
        self,
        side: int,
        prefix: tuple[str, ...],
        own_key: X25519PrivateKey,
        other_key: X25519PrivateKey,
        own: tuple[str, str, int],
        other: tuple[str, str, int],
    ) -> None:
        device = f"hyb{self._suffix}{side}"
        assert self._program is not None
        command = [*prefix, self._program, "-f", device]
        self._children.append(Child("wireguard-go", command, environment={"LOG_LEVEL": "error"}))
        place = SOCKETS / f"{device}.sock"
        deadline = time.monotonic() + START_SECONDS
        while not place.exists():
            if time.monotonic() > deadline:
                raise ChildError("wireguard-go does not start")
            time.sleep(0.02)
        public = other_key.public_key().public_bytes_raw().hex()
        order = (
            f"set=1\nprivate_key={own_key.private_bytes_raw().hex()}\nlisten_port={own[2]}\n"
            f"public_key={public}\nendpoint={other[1]}:{other[2]}\nallowed_ip={other[0]}/32\n\n"
        )
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(place))
            sock.sendall(order.encode())
            if b"errno=0" not in sock.recv(4096):
                raise ChildError("wireguard-go refuses its configuration")
        run(*prefix, "ip", "address", "add", f"{own[0]}/24", "dev", device)
        run(*prefix, "ip", "link", "set", device, "mtu", "1420", "up")

    def _listen(self) -> None:
        """In the far namespace, from a thread that goes there."""
        ready = threading.Event()

        def inside() -> None:
            with open(f"/run/netns/{self._namespace}", "rb") as namespace:
                ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET)
            self._listener = socket.create_server((FAR[0], self.port))
            ready.set()
            with contextlib.suppress(OSError):
                accept_bulk(self._listener)

        threading.Thread(target=inside, daemon=True).start()
        if not ready.wait(START_SECONDS):
            raise ChildError("no service behind wireguard-go")


def run(*command: str) -> None:
    """Raises ChildError."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise ChildError(f"{' '.join(command)} failed", done.stderr.splitlines())
