"""``python -m bench.transparent``: a server's fake address against a local forward to it, through the same client.

Needs root: it moves into a network namespace of its own first, so nothing of this machine's network is touched. All
ways take turns. Shown beside them: the mirror alone (the service listens behind the device, there is no tunnel), with
the shortcut through the kernel and without it, as where CAP_BPF is missing; wireguard-go where it is installed (``go
install golang.zx2c4.com/wireguard@latest``) and sshuttle where it is (``pip install sshuttle``), each to another
namespace. What is missing is said and not counted as a failure.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import bulk, machine, service, storm
from bench.bulk import Address
from bench.child import Child, ChildError
from bench.mirror import Mirror
from bench.peers import START_TIMEOUT, Ports
from bench.processes import family, pss_bytes
from bench.report import replace_section
from bench.sshuttle import Sshuttle
from bench.suites import megabytes_per_second
from bench.transparent_report import BEGIN, CONNECTIONS, END, FAKE, FORWARD, WIREGUARD, Measured, markdown, show
from bench.tunnel import HyperionTunnel
from bench.wireguard import WireGuard

MIB = 1 << 20
CLONE_NEWNET = 0x4000_0000

#: The first server of a client's file.
FAKE_ADDRESS = "10.99.0.10"

CONCURRENCY = 64

#: sshuttle gets this part of the bytes: it would take minutes for all of them, and a rate is a rate.
SSHUTTLE_PART = 16


class TransparentTunnel(HyperionTunnel):
    """The usual pair, whose client also gives the server a fake address."""

    def start_client(self, ports: Ports) -> None:
        """Both ways lead through this one client."""
        super().start_client(ports)
        assert self.client is not None
        self.client.wait_line("HYP3021N", START_TIMEOUT)
        self.client.wait_line("HYP2011I", START_TIMEOUT)

    def _run(self, side: str, arguments: Sequence[str]) -> Child:
        return super()._run(side, [*arguments, *(["--tun"] if side == "client" else [])])

    @property
    def tund_pid(self) -> int:
        """The process that turns packets round."""
        assert self.client is not None
        return next(process.pid for process in family(self.client.pid) if process.name == "hyp-tund")


@dataclass(frozen=True, slots=True)
class Way:
    """A name, and where its bulk and its echo service are. It moves the ``part``-th part of the bytes."""

    name: str
    bulk: Address
    echo: Address | None = None
    part: int = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.transparent", description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--bulk-mib", type=int, default=512, metavar="N")
    # All repetitions within a minute must stay well below the 28,000 ports that a connection can come from: after its
    # end each is held for that long, as with any host but loopback, and looking for a free one gets slow before that.
    parser.add_argument("--connections", type=int, default=2_000, metavar="N")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="replace the section of this document")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("error: needs root, for a network namespace of its own", file=sys.stderr)
        return 2
    enter_namespace()
    with tempfile.TemporaryDirectory(prefix="hyb") as name:
        try:
            found = measure(Path(name), options.repetitions, options.bulk_mib * MIB, options.connections)
        except ChildError as error:
            print(f"error: {error}", *error.tail[-20:], sep="\n    ", file=sys.stderr)
            return 1
    if options.write is not None:
        document = options.write.read_text(encoding="utf-8")
        options.write.write_text(replace_section(document, markdown(found), BEGIN, END), encoding="utf-8")
    return show(found)


def enter_namespace() -> None:
    """A network of our own, with loopback and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)


def measure(directory: Path, repetitions: int, size: int, connections: int) -> Measured:
    child, ports = service.start()
    tunnel = TransparentTunnel(directory / "tunnel")
    peers = WireGuard(), Sshuttle(directory / "sshuttle")
    with child, Mirror() as mirror, Mirror(shortcut=False) as long_way, peers[0] as wireguard, peers[1] as sshuttle:
        try:
            tunnel.start(ports)
            ways = [
                Way(FORWARD, tunnel.address("bulk"), tunnel.address("echo")),
                Way(FAKE, (FAKE_ADDRESS, ports["bulk"]), (FAKE_ADDRESS, ports["echo"])),
                Way("the mirror alone", mirror.address),
                Way("without the shortcut", long_way.address),
            ]
            if not wireguard.missing:
                ways.append(Way(WIREGUARD, (wireguard.serve(), wireguard.port)))
            if not sshuttle.missing:
                ways.append(Way("sshuttle", (sshuttle.serve(), sshuttle.port), part=SSHUTTLE_PART))
            missing = [
                f"{name}: {why}"
                for name, why in ((WIREGUARD, wireguard.missing), ("sshuttle", sshuttle.missing))
                if why
            ]
            for each in missing:
                print(f"not measured: {each}")
            settings: dict[str, object] = {"repetitions": repetitions, "bulk_bytes": size, "connections": connections}
            settings |= {"concurrency": CONCURRENCY, "load before": f"{machine.load_average():.1f}"}
            values, cpu = compare(ways, tunnel.tund_pid, repetitions, size, connections)
            pss = (pss_bytes(tunnel.tund_pid) or 0) / 1e6
            return Measured(values, [way.name for way in ways], cpu, pss, settings, missing)
        finally:
            tunnel.stop()


def compare(
    ways: Sequence[Way], tund: int, repetitions: int, size: int, connections: int
) -> tuple[dict[tuple[str, str], list[float]], float]:
    """The values by figure and way, and tund's seconds of processor for each GB."""
    values: dict[tuple[str, str], list[float]] = {}
    cpu = moved = 0.0
    for number in range(repetitions):
        print(f"repetition {number + 1}/{repetitions}", flush=True)
        for way in ways:
            before = cpu_seconds(tund)
            for figure, transfer in (("up, MB/s", bulk.upload), ("down, MB/s", bulk.download)):
                rate = in_thread(partial(megabytes_per_second, transfer, way.bulk, size // way.part, 1))
                values.setdefault((figure, way.name), []).append(rate)
            if way.name == FAKE:
                cpu += cpu_seconds(tund) - before
                moved += 2 * size / 1e9
    for _ in range(repetitions):
        for way in ways:
            if way.echo is not None:
                rate = in_thread(partial(storm.connections_per_second, way.echo, connections, CONCURRENCY))
                values.setdefault((CONNECTIONS, way.name), []).append(rate)
    return values, cpu / moved


def in_thread(measure_: Callable[[], float]) -> float:
    """One measurement; a thread started here is in our namespace, as we are."""
    done: list[float] = []
    thread = threading.Thread(target=lambda: done.append(measure_()))
    thread.start()
    thread.join()
    if not done:
        raise ChildError("a measurement failed")
    return done[0]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path("/proc", str(pid), "stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(code)
