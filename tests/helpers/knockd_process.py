"""A real knockd in a network namespace, and the supervisor's end of its control socket."""

import json
import secrets
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.framing import FrameReader, encode
from hyperion.proto.control import Message
from hyperion.proto.control_knockd import KnockCounts, KnockdConfig, KnockdToSupervisor, LogSettings, Ready
from hyperion.proto.knock import derive_knock_key, seal
from tests.helpers.netns import Host

ROOT = Path(__file__).parents[2]
PORT = 8443
KEY, SERVER = derive_knock_key(bytes(32)), bytes([7] * 32)
TTL = 20
TABLE, SET = "hyperion", "admitted"
START_SECONDS = 20.0

Kind = TypeVar("Kind", bound=Message)

# Descriptor 3 is the control socket, whatever number it has here.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, '-m', 'hyperion.knockd'])"
)


def knock(offset: int = 0, port: int = PORT) -> bytes:
    """Fresh, sealed now by a clock that is ``offset`` seconds ahead."""
    return seal(KEY, SERVER, int(time.time()) + offset, port, secrets.token_bytes(12))


def send(host: Host, target: str, *datagrams: bytes, port: int = PORT, source: str = "") -> None:
    """UDP from ``host`` to an address."""
    with host.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if source:
            sock.bind((source, 0))
        for datagram in datagrams:
            sock.sendto(datagram, (target, port))


def load_table(host: Host, *, one_shot: bool = False) -> None:
    """The operator's step."""
    host.run("nft", "-f", "-", input=ruleset_text(Ruleset(PORT, table=TABLE, set=SET, one_shot=one_shot)))


class KnockdProcess:
    """Use it in a ``with`` block. ``directory`` holds the replay memory and the log, across restarts; ``prefix`` is a
    command that starts it with other rights; ``changes`` are fields of its configuration."""

    def __init__(
        self, host: Host, directory: Path, *, prefix: tuple[str, ...] = (), ready: bool = True, **changes: Any
    ) -> None:
        directory.mkdir(exist_ok=True)
        directory.chmod(0o700)
        self.log_path = directory / "log"
        config = KnockdConfig(
            KEY, SERVER, PORT, PORT, 30, TABLE, SET, TTL, str(directory / "replay"), log=LogSettings("json", "debug")
        )
        self.config = msgspec.structs.replace(config, **changes)
        self._host = host
        self._prefix = prefix
        self.seen: list[KnockdToSupervisor] = []
        self._unread: list[KnockdToSupervisor] = []
        self.start(ready=ready)

    def __enter__(self) -> "KnockdProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *, ready: bool = True) -> None:
        """A process on the memory of the one before."""
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(START_SECONDS)
        self._reader = FrameReader(msgspec.msgpack.Decoder(KnockdToSupervisor))
        self._unread.clear()
        with theirs, self.log_path.open("ab") as log:
            command = (*self._prefix, sys.executable, "-c", _START, str(theirs.fileno()))
            self.child = self._host.popen(*command, cwd=ROOT, pass_fds=(theirs.fileno(),), stderr=log)
        self.send(self.config)
        if ready:
            self.pid = self.expect(Ready).pid

    def send(self, message: Message) -> None:
        """To knockd."""
        self.socket.sendall(encode(message))

    def expect(self, kind: type[Kind], accept: Callable[[Kind], object] = lambda _: True, timeout: float = 5.0) -> Kind:
        """The next message of this kind (others are passed over) that ``accept`` likes."""
        deadline = time.monotonic() + (START_SECONDS if kind is Ready else timeout)
        while True:
            while self._unread:
                message = self._unread.pop(0)
                self.seen.append(message)
                if isinstance(message, kind) and accept(message):
                    return message
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.socket.recv(65_536)
            assert data, f"knockd ended ({self.log_path.read_text()[-2000:]})"
            self._unread += self._reader.receive_data(data)

    def count(self, verdict: str, at_least: int = 1) -> int:
        """Waits until so many had this verdict."""
        counts = self.expect(KnockCounts, lambda counts: counts.verdicts.get(verdict, 0) >= at_least)
        return counts.verdicts[verdict]

    def kill(self) -> None:
        """Without warning."""
        self.child.kill()
        self.child.wait(START_SECONDS)
        self.socket.close()

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self.child.wait(START_SECONDS)

    def log(self) -> list[dict[str, Any]]:
        """Its lines."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def cpu_seconds(self) -> float:
        """Time of processors that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


def elements(host: Host) -> dict[str, dict[str, Any]]:
    """The grants in the kernel, by source."""
    found: dict[str, dict[str, Any]] = {}
    for name in (SET, f"{SET}6"):
        listing = json.loads(host.run("nft", "-j", "list", "set", "inet", TABLE, name))
        for item in listing["nftables"]:
            for element in item.get("set", {}).get("elem", ()):
                found[element["elem"]["val"]] = element["elem"]
    return found


def status(pid: int) -> dict[str, str]:
    """``/proc/PID/status``."""
    return {
        name: value.strip()
        for name, value in (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    }
