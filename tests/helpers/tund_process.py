"""A real tund in a network namespace, and the supervisor's end of its control socket."""

import contextlib
import fcntl
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hyperion.framing import FrameReader, encode
from hyperion.proto.control import Message, Ready
from hyperion.proto.control_tund import (
    DeviceSettings,
    ReflectorCounts,
    TargetState,
    TundConfig,
    TundToSupervisor,
)
from tests.helpers.netns import Host

ROOT = Path(__file__).parents[2]
START_SECONDS = 20.0

DEVICE = "hyperion0"
OWN, OWN6 = "10.99.0.1", "fd68:7970:6572::a63:1"
SERVERS = {name: f"10.99.0.{number}" for name, number in (("web1", 10), ("web2", 11), ("db1", 12))}
SERVERS6 = {name: f"fd68:7970:6572::a63:{number:x}" for name, number in (("web1", 10), ("web2", 11), ("db1", 12))}
SETTINGS = DeviceSettings(DEVICE, f"{OWN}/24", f"{OWN6}/96", 65_535)

Kind = TypeVar("Kind", bound=Message)

# Descriptor 3 is the control socket, whatever number it has here.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, '-m', 'hyperion.tund'])"
)


def await_reader(sock: socket.socket) -> None:
    """Returns once the other end has read everything; a burst of packets may come in between."""
    deadline = time.monotonic() + START_SECONDS
    unread = bytearray(4)
    while fcntl.ioctl(sock, termios.TIOCOUTQ, unread) or any(unread):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def target(name: str, *pairs: tuple[int, int], up: bool = True, closed: bool = True) -> TargetState:
    """What the supervisor tells of a server."""
    return TargetState(name, (SERVERS[name], SERVERS6[name]), up, closed, pairs)


class TundProcess:
    """Use it in a ``with`` block. ``without_bpf``: a root without CAP_BPF starts it."""

    def __init__(
        self, host: Host, settings: DeviceSettings = SETTINGS, *, ready: bool = True, without_bpf: bool = False
    ) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(START_SECONDS)
        self._reader = FrameReader(msgspec.msgpack.Decoder(TundToSupervisor))
        self._unread: list[TundToSupervisor] = []
        with theirs:
            less = ("setpriv", "--bounding-set", "-bpf,-sys_admin") if without_bpf else ()
            command = (*less, sys.executable, "-c", _START, str(theirs.fileno()))
            self.child = host.popen(*command, cwd=ROOT, pass_fds=(theirs.fileno(),))
        self.send(TundConfig(settings))
        if ready:
            self.pid = self.expect(Ready).pid

    def __enter__(self) -> "TundProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def send(self, message: Message) -> None:
        """To tund, which has read it when this returns."""
        self.socket.sendall(encode(message))
        await_reader(self.socket)

    def expect(
        self, kind: type[Kind], accept: Callable[[Kind], object] = lambda _: True, timeout: float = 12.0
    ) -> Kind:
        """The next message of this kind (others are passed over) that ``accept`` likes."""
        deadline = time.monotonic() + (START_SECONDS if kind is Ready else timeout)
        while True:
            while self._unread:
                message = self._unread.pop(0)
                if isinstance(message, kind) and accept(message):
                    return message
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.socket.recv(65_536)
            assert data, "tund ended"
            self._unread += self._reader.receive_data(data)

    def counts(self, accept: Callable[[dict[str, int]], object] = lambda _: True) -> dict[str, int]:
        """The next report that ``accept`` likes."""
        return self.expect(ReflectorCounts, lambda report: accept(report.counts)).counts

    def kill(self) -> None:
        """Without warning."""
        self.child.kill()
        self.child.wait(START_SECONDS)
        self.socket.close()

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self.child.wait(START_SECONDS)


def listen(host: Host, address: str, device: str = DEVICE, **_: Any) -> socket.socket:
    """As a worker listens: on the device's address and on nothing but the device."""
    sock = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind((address, 0))
    sock.listen(1024)
    sock.settimeout(10)
    return sock


def connect(host: Host, address: str, port: int, timeout: float = 5.0) -> socket.socket:
    """An application's connection."""
    sock = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def with_mtu(mtu: int, *, offload: bool) -> DeviceSettings:
    """The usual device with another MTU; ``offload``: with TSO and open checksums."""
    return msgspec.structs.replace(SETTINGS, mtu=mtu, offload=offload)


@contextlib.contextmanager
def serving(host: Host, tund: TundProcess, port: int, own: str = OWN) -> Iterator[socket.socket]:
    """A listener behind ``port`` of web1, for the length of the block."""
    with listen(host, own) as listener:
        tund.send(target("web1", (port, listener.getsockname()[1])))
        yield listener


def there_and_back(host: Host, tund: TundProcess, own: str, server: str, data: bytes) -> bytes:
    """Sends ``data`` to port 443 of web1, at the address ``server`` of it, and takes it back from there."""
    with serving(host, tund, 443, own) as listener:
        thread = threading.Thread(target=_send_back, args=(listener, len(data)))
        thread.start()
        with connect(host, server, 443) as sock:
            sock.sendall(data)
            back = _take(sock, len(data))
        thread.join()
    return back


def _send_back(listener: socket.socket, size: int) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.sendall(_take(sock, size))


def _take(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := sock.recv(1 << 20)):
        data += part
    return bytes(data)
