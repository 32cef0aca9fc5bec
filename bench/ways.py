"""``python -m bench.ways``: bulk through the ways that need no forward, beside a forward of the same client.

nc moves every byte once more, through a process of its own; SOCKS does not. The figure is the ratio to the forward in
the same turn; a slow machine is slow for all.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench import payload, service, stats
from bench.bulk import Address, Header, Operation, TransferError, connect, read_exactly, receive, send_blocks
from bench.peers import LOOPBACK, START_TIMEOUT, Ports
from bench.plan import MIB
from bench.tunnel import FORWARD_LINE, HyperionTunnel, Options, program

#: The client's line for its SOCKS listener.
SOCKS_LINE = r"^socks \S+:(?P<port>\d+)$"

#: Seconds for nc to start and connect, with a tunnel of its own on a busy machine.
SETTLE_SECONDS = 2.0

FORWARD, SOCKS, NC, NC_ALONE = "forward", "SOCKS", "nc, client runs", "nc, own tunnel"

#: A connection to the bulk service.
Dial = Callable[[], AbstractContextManager[socket.socket]]


class Ways(HyperionTunnel):
    """One server and one client with a forward and a SOCKS listener."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, Options())
        self.socks: Address = (LOOPBACK, 0)

    def start_client(self, ports: Ports) -> None:
        name = self._options.servers[0]
        self.client = self._run("client", ["-L", f"{name}:{ports['bulk']}", "-D", "0"])
        line = self.client.wait_line(FORWARD_LINE, START_TIMEOUT)
        self._local = {(name, ports["bulk"]): int(line["port"])}
        self.socks = LOOPBACK, int(self.client.wait_line(SOCKS_LINE, START_TIMEOUT)["port"])
        self._ports = ports

    def dials(self) -> dict[str, Dial]:
        """Each way, by name."""
        name, port = self._options.servers[0], self._ports["bulk"]
        return {
            FORWARD: lambda: connect(self.address("bulk")),
            SOCKS: lambda: dial_socks(self.socks, name, port),
            NC: lambda: dial_nc(self._directory, name, port),
            NC_ALONE: lambda: dial_nc(self._directory, name, port, alone=True),
        }


def dial_socks(proxy: Address, name: str, port: int) -> socket.socket:
    """Raises TransferError if it says no."""
    connection = connect(proxy)
    request = b"\x05\x01\x00\x03" + bytes((len(name),)) + name.encode() + port.to_bytes(2, "big")
    connection.sendall(b"\x05\x01\x00" + request)
    answer = read_exactly(connection, 2 + 10)
    if answer[3] != 0:
        raise TransferError(f"SOCKS reply {answer[3]}")
    return connection


@contextlib.contextmanager
def dial_nc(directory: Path, name: str, port: int, *, alone: bool = False) -> Iterator[socket.socket]:
    """nc's two ends as one socket. ``alone``: as if no client ran, because its runtime directory is another."""
    ours, theirs = socket.socketpair()
    command = [*program("client"), "nc", "-c", str(directory / "client.toml"), name, str(port)]
    environment = {**os.environ, "HYPERION_HOME": str(directory / "nowhere" if alone else directory)}
    end = theirs.fileno()
    with ours, subprocess.Popen(command, stdin=end, stdout=end, env=environment) as process:
        theirs.close()
        time.sleep(SETTLE_SECONDS)  # its start is another figure, and nothing tells when it is connected
        yield ours
        ours.close()
        process.wait(START_TIMEOUT)


def upload(dial: Dial, size: int) -> float:
    """MB/s, from the first byte to the service's word that all have come; the start of nc is not in it."""
    with dial() as connection:
        connection.sendall(Header(Operation.UPLOAD, False, size).encode())
        began = time.perf_counter()
        send_blocks(connection, size)
        read_exactly(connection, payload.DIGEST_BYTES)
        return size / (time.perf_counter() - began) / 1e6


def download(dial: Dial, size: int) -> float:
    """MB/s, from the first byte that comes."""
    with dial() as connection:
        connection.sendall(Header(Operation.DOWNLOAD, False, size).encode())
        read_exactly(connection, payload.DIGEST_BYTES)
        began = time.perf_counter()
        receive(connection, size, hashed=False, progress=None)
        return size / (time.perf_counter() - began) / 1e6


def measure(ways: Ways, size: int, repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Direction, way, values; all ways in turn in each repetition."""
    found: dict[str, dict[str, list[float]]] = {"up": {}, "down": {}}
    for _ in range(repetitions):
        for name, dial in ways.dials().items():
            found["up"].setdefault(name, []).append(upload(dial, size))
            found["down"].setdefault(name, []).append(download(dial, size))
    return found


def lines(found: dict[str, dict[str, list[float]]]) -> list[str]:
    """One for each way: median MB/s up and down, and the ratio to the forward."""
    shown = []
    for name in found["up"]:
        cells = []
        for direction, values in found.items():
            median, ratio = stats.spread(values[name]).median, stats.ratio(values[name], values[FORWARD])
            cells.append(f"{direction} {median:6.0f} MB/s (x{ratio:.2f})")
        shown.append(f"{name:16} {'  '.join(cells)}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ways", description="nc and SOCKS beside a forward")
    parser.add_argument("--mib", type=int, default=256, help="MiB of one transfer (256)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hyp") as directory, contextlib.ExitStack() as stack:
        child, ports = service.start()
        stack.enter_context(child)
        ways = Ways(Path(directory) / "w")
        stack.callback(ways.stop)
        ways.start(ports)
        for line in lines(measure(ways, options.mib * MIB, options.repetitions)):
            print(line)


if __name__ == "__main__":
    main()
