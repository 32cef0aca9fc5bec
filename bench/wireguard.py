"""wireguard-go between two network namespaces, for a look at what a user-space VPN costs. Only where it is installed.

``go install golang.zx2c4.com/wireguard@latest`` makes the program ``wireguard``; packages of distributions call it
``wireguard-go``. It is told its keys over its own socket, so no other tool is needed.
"""

import os
import shutil
import socket
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.child import ChildError
from bench.far import Far, run

#: Names that the program goes by.
PROGRAMS = ("wireguard-go", "wireguard")
#: Where it listens for its configuration.
SOCKETS = Path("/var/run/wireguard")

NEAR, FAR = ("10.97.0.1", "10.96.0.1", 51_820), ("10.97.0.2", "10.96.0.2", 51_821)
START_SECONDS = 10.0


class WireGuard(Far):
    """The machine behind it. ``missing``: why it cannot be measured, or nothing; ``serve`` gives its address."""

    port = 7_001

    def __init__(self) -> None:
        super().__init__("wire")
        self._program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        self.missing = "" if self._program else "not installed: go install golang.zx2c4.com/wireguard@latest"
        self._suffix = str(os.getpid() % 10_000)

    def serve(self) -> str:
        """Lays a wire to another namespace, a tunnel over it, and a bulk service at its end. Raises ChildError."""
        self.lay(f"{NEAR[1]}/24", f"{FAR[1]}/24")
        keys = [X25519PrivateKey.generate() for _ in (NEAR, FAR)]
        for side, (own, other) in enumerate(((NEAR, FAR), (FAR, NEAR))):
            self._end(side, keys[side], keys[1 - side], own, other)
        self.offer_bulk(FAR[0], self.port)
        return FAR[0]

    def _end(
        self,
        side: int,
        own_key: X25519PrivateKey,
        other_key: X25519PrivateKey,
        own: tuple[str, str, int],
        other: tuple[str, str, int],
    ) -> None:
        device = f"hyb{self._suffix}{side}"
        assert self._program is not None
        there = side == 1
        self.start("wireguard-go", self._program, "-f", device, there=there, environment={"LOG_LEVEL": "error"})
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
        prefix = self.prefix if there else ()
        run(*prefix, "ip", "address", "add", f"{own[0]}/24", "dev", device)
        run(*prefix, "ip", "link", "set", device, "mtu", "1420", "up")
