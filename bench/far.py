"""Another machine, as far as the network goes: a namespace at the end of a wire, with the bulk service in it, and the
programs that lead there."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from bench.child import Child, ChildError
from bench.service import accept_bulk

CLONE_NEWNET = 0x4000_0000
START_SECONDS = 10.0
COMMAND_SECONDS = 10


class Far:
    """A context manager; made by ``lay``. ``name`` is part of the names of the namespace and of the wire.

    All that was started for it ends with it, the last one first, whatever becomes of the others.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._namespace = f"hyb-{os.getpid()}-{name}"
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    @property
    def prefix(self) -> tuple[str, ...]:
        """Before a command that is to run there."""
        return ("ip", "netns", "exec", self._namespace)

    def lay(self, near: str, far: str) -> None:
        """The namespace, and a wire with these addresses, each with its prefix. Raises ChildError."""
        run("ip", "netns", "add", self._namespace)
        self._ends.callback(run, "ip", "netns", "delete", self._namespace)
        ends = f"{self._name}0", f"{self._name}1"
        run("ip", "link", "add", ends[0], "type", "veth", "peer", ends[1], "netns", self._namespace)
        for prefix, end, address in (((), ends[0], near), (self.prefix, ends[1], far)):
            run(*prefix, "ip", "address", "add", address, "dev", end)
            run(*prefix, "ip", "link", "set", end, "up")
        run(*self.prefix, "ip", "link", "set", "lo", "up")

    def start(
        self, name: str, *command: str, there: bool = False, environment: Mapping[str, str] | None = None
    ) -> Child:
        """A program, ``there`` or here. Raises ChildError."""
        child = Child(name, [*(self.prefix if there else ()), *command], environment=environment)
        self._ends.callback(child.stop)
        return child

    def offer_bulk(self, address: str, port: int) -> None:
        """The bulk service at an address that is there. Raises ChildError."""
        ready = threading.Event()

        def inside() -> None:
            with open(f"/run/netns/{self._namespace}", "rb") as namespace:
                ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET)
            listener = socket.create_server((address, port))
            self._ends.callback(listener.close)
            ready.set()
            with contextlib.suppress(OSError):
                accept_bulk(listener)

        threading.Thread(target=inside, daemon=True).start()
        if not ready.wait(START_SECONDS):
            raise ChildError(f"no service at {address}")


def run(*command: str) -> None:
    """A command, to its end. Raises ChildError."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if done.returncode:
        raise ChildError(f"{' '.join(command)} failed", done.stderr.splitlines())
