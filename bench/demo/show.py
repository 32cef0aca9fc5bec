"""The demonstration: set up, move, look, stop, and check each of it. Every wait has an end."""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from bench import bulk, machine, processes, service
from bench.bulk import Address, Transfer, TransferError
from bench.child import Child, ChildError
from bench.demo import tree
from bench.demo.screen import Screen
from bench.peers import port_is_open
from bench.tunnel import HyperionTunnel, Options

MIB = 1024 * 1024

#: Bytes moved each way.
TRANSFER_BYTES = 256 * MIB

#: Seconds after which the demonstration gives up, whatever it waits for: a slow machine needs a third of it.
TOTAL_TIMEOUT = 150.0

#: Log lines shown of a part that failed.
SHOWN_LINES = 15

SERVER_NAME = "demo"

#: Processes of the server that carry traffic.
WORKERS = 2

MoveFunction = Callable[..., Transfer]


class OutOfTimeError(Exception):
    """The whole demonstration took longer than it may."""


class Demo:
    """Holds what was started, so that it can be stopped whatever happens."""

    def __init__(self, screen: Screen, directory: Path, size: int = TRANSFER_BYTES) -> None:
        self._screen = screen
        self._size = size
        options = Options(workers=WORKERS, servers=(SERVER_NAME,), log_format="console")
        self._tunnel = HyperionTunnel(directory / "hyperion", options)
        self._ports: dict[str, int] = {}
        self._speeds: dict[str, float] = {}
        self._parts: list[Child] = []
        self._seen: set[tuple[int, int]] = set()
        self._addresses: list[Address] = []

    def run(self) -> None:
        """All steps. Raises ChildError, TransferError, OSError or OutOfTimeError when one cannot be done."""
        try:
            self._set_up()
            self._move()
            self._look()
        except BaseException:
            self._stop_quietly()
            raise
        self._stop()
        self._sum_up()

    def tails(self) -> list[tuple[str, list[str]]]:
        """The last log lines of each part that was started."""
        return [(part.name, part.tail()[-SHOWN_LINES:]) for part in self._parts]

    def _set_up(self) -> None:
        screen, tunnel = self._screen, self._tunnel
        screen.step("1. A TCP service to reach, and keys for both sides")
        child, ports = service.start()
        self._parts.append(child)
        self._ports = {"bulk": ports["bulk"]}
        tunnel.prepare(self._ports)
        screen.say(f"service on port {ports['bulk']}; server key, admin key and shared secret in a temporary directory")

        screen.step(f"2. hyperion-server with {WORKERS} workers, and hyperion-client")
        began = time.monotonic()
        tunnel.start_server()
        assert tunnel.server is not None
        self._parts.append(tunnel.server)
        screen.say(f"server ready on port {tunnel.port} after {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        tunnel.start_client(self._ports)
        assert tunnel.client is not None
        self._parts.append(tunnel.client)
        host, port = tunnel.address("bulk")
        screen.say(f"client ready after {time.monotonic() - began:.1f} s: {host}:{port} leads through the tunnel")
        self._addresses = [("127.0.0.1", ports["bulk"]), ("127.0.0.1", tunnel.port), (host, port)]

    def _move(self) -> None:
        size = self._size // MIB
        self._screen.step(f"3. {size} MiB each way, SHA-256 taken at both ends, with and without the tunnel")
        direct = ("127.0.0.1", self._ports["bulk"])
        ways: list[tuple[str, MoveFunction]] = [("up", bulk.upload), ("down", bulk.download)]
        for direction, move in ways:
            self._transfer(f"{direction}, through the tunnel", move, self._tunnel.address("bulk"))
            self._transfer(f"{direction}, without the tunnel", move, direct)

    def _transfer(self, text: str, move: MoveFunction, address: Address) -> None:
        with self._screen.progress(text, self._size) as report:
            done = move(address, self._size, hashed=True, progress=report)
        self._speeds[text] = done.megabytes_per_second
        equal = done.sent_digest == done.received_digest
        speed = f"{done.megabytes_per_second:,.0f} MB/s"
        self._screen.check(f"{text}: {speed}, SHA-256 {done.received_digest[:8]} at both ends", good=equal)

    def _look(self) -> None:
        self._screen.step("4. What is running")
        purposes = ("the TCP service", "server supervisor: owns the configuration, the keys and the listening sockets")
        roots = list(zip(self._parts, (*purposes, "client supervisor: the same on the client"), strict=True))
        rows = tree.rows([(part.pid, purpose) for part, purpose in roots])
        if rows:
            self._screen.table(tree.HEADER, rows, right=tree.RIGHT)
        else:
            self._screen.say("this system has no /proc: the process tree cannot be shown")
        self._seen = {member.identity for part in self._parts for member in processes.family(part.pid)}
        self._screen.check("service, server and client all run", good=all(part.running for part in self._parts))

    def _stop(self) -> None:
        self._screen.step("5. Stop everything (SIGTERM) and look for left-overs")
        for part in reversed(self._parts):
            status = part.stop()
            self._screen.check(f"{part.name} ended with exit status {status}", good=status == 0 and not part.killed)
            if status or part.killed:
                self._screen.log(part.name, part.tail()[-SHOWN_LINES:])
        left = self._seen & {process.identity for process in processes.everyone() if process.state != "Z"}
        self._screen.check(f"{len(self._seen)} processes ran, {len(left)} are left", good=not left)
        open_ports = [address[1] for address in self._addresses if port_is_open(address)]
        self._screen.check(f"{len(self._addresses)} ports were open, {len(open_ports)} still are", good=not open_ports)

    def _stop_quietly(self) -> None:
        """After a failure or Ctrl-C: everything goes, nothing is judged."""
        self._tunnel.stop()
        for part in reversed(self._parts):
            part.stop()

    def _sum_up(self) -> None:
        self._screen.step("Throughput")
        rows = []
        for direction in ("up", "down"):
            through = self._speeds[f"{direction}, through the tunnel"]
            direct = self._speeds[f"{direction}, without the tunnel"]
            rows.append((direction, f"{through:,.0f} MB/s", f"{direct:,.0f} MB/s", f"{through / direct:.0%}"))
        header = ("direction", "through the tunnel", "without", "of it")
        self._screen.table(header, rows, right=(1, 2, 3))
        self._screen.say(f"client, server, service and both ends of the transfer share {machine.cores()} cores here")


def main() -> int:
    """0 if every check passed, else 1 (130 after Ctrl-C)."""
    screen = Screen()
    began = time.monotonic()
    code = demonstrate(screen)
    if code == 0:
        took = time.monotonic() - began
        screen.step(f"All {screen.passed} checks passed in {took:.0f} s. What you saw:")
        screen.say("a client reached a TCP service of a server through one encrypted, authenticated tunnel;")
        screen.say("both directions carried every byte unchanged; everything was stopped and nothing is left behind.")
    elif screen.failed:
        screen.error(f"\n{len(screen.failed)} checks failed: " + "; ".join(screen.failed))
    return code


def demonstrate(screen: Screen) -> int:
    with temporary_directory(screen) as directory:
        demo = Demo(screen, directory)
        try:
            with deadline(TOTAL_TIMEOUT):
                demo.run()
        except KeyboardInterrupt:
            screen.error("\nstopped by you; everything was ended")
            return 128 + signal.SIGINT
        except (ChildError, TransferError, OutOfTimeError, OSError) as error:
            screen.error(f"\nfailed: {error}")
            show_logs(screen, demo, error)
            return 1
    return 1 if screen.failed else 0


def show_logs(screen: Screen, demo: Demo, error: Exception) -> None:
    """The part that failed if it is known, else all."""
    if isinstance(error, ChildError) and error.tail:
        screen.log("the part that failed", error.tail[-SHOWN_LINES:])
        return
    for name, tail in demo.tails():
        screen.log(name, tail)


@contextlib.contextmanager
def temporary_directory(screen: Screen) -> Iterator[Path]:
    """A directory that is gone afterwards, which is checked too."""
    with tempfile.TemporaryDirectory(prefix="hyperion-demo-") as name:
        yield Path(name)
    if screen.passed:
        screen.check("the temporary directory with the keys is gone", good=not Path(name).exists())


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends the block with OutOfTimeError after so many seconds; SIGTERM ends it like Ctrl-C."""

    def out_of_time(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError(f"the demonstration did not end within {seconds:g} s")

    before = [signal.signal(signal.SIGALRM, out_of_time), signal.signal(signal.SIGTERM, signal.default_int_handler)]
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
