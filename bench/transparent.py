"""``python -m bench.transparent``: a server's fake address against a local forward to it, through the same client.

Needs root: it moves into a network namespace of its own first, so nothing of this machine's network is touched. All
ways take turns. Shown beside them: the mirror alone (the service listens behind ``tund``, there is no tunnel), and
wireguard-go where it is installed (``go install golang.zx2c4.com/wireguard@latest``, and ``wg`` for its keys); if it is
missing, that is said and not counted as a failure.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import bulk, service, storm
from bench.bulk import Address
from bench.child import Child, ChildError
from bench.mirror import Mirror
from bench.peers import START_TIMEOUT, Ports
from bench.processes import family, pss_bytes
from bench.suites import megabytes_per_second
from bench.tunnel import HyperionTunnel
from bench.wireguard import WireGuard

MIB = 1 << 20
CLONE_NEWNET = 0x4000_0000

#: The first server of a client's file.
FAKE = "10.99.0.10"

#: What issue 6 asks for: at least so much of the local forward; tund at most so many MB; wireguard-go times so much.
BULK_SHARE, CONNECTION_SHARE, TUND_MB, WIREGUARD_TIMES = 0.85, 0.8, 15.0, 2.0

CONCURRENCY = 64


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
    """A name, and where its bulk and its echo service are."""

    name: str
    bulk: Address
    echo: Address | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.transparent", description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--bulk-mib", type=int, default=512, metavar="N")
    # All repetitions within a minute must stay well below the 28,000 ports that a connection can come from: after its
    # end each is held for that long, as with any host but loopback, and looking for a free one gets slow before that.
    parser.add_argument("--connections", type=int, default=2_000, metavar="N")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("error: needs root, for a network namespace of its own", file=sys.stderr)
        return 2
    enter_namespace()
    with tempfile.TemporaryDirectory(prefix="hyb") as name:
        try:
            return measure(Path(name), options.repetitions, options.bulk_mib * MIB, options.connections)
        except ChildError as error:
            print(f"error: {error}", *error.tail[-20:], sep="\n    ", file=sys.stderr)
            return 1


def enter_namespace() -> None:
    """A network of our own, with loopback and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)


def measure(directory: Path, repetitions: int, size: int, connections: int) -> int:
    child, ports = service.start()
    tunnel = TransparentTunnel(directory / "tunnel")
    with child, Mirror() as mirror, WireGuard(directory / "wg") as wireguard:
        try:
            tunnel.start(ports)
            ways = [
                Way("local forward", tunnel.address("bulk"), tunnel.address("echo")),
                Way("fake address", (FAKE, ports["bulk"]), (FAKE, ports["echo"])),
                Way("the mirror alone", mirror.address, None),
            ]
            if wireguard.missing:
                print(f"not measured: wireguard-go ({wireguard.missing})")
            else:
                ways.append(Way("wireguard-go", (wireguard.serve(), wireguard.port), None))
            return compare(ways, tunnel.tund_pid, repetitions, size, connections)
        finally:
            tunnel.stop()


def compare(ways: Sequence[Way], tund: int, repetitions: int, size: int, connections: int) -> int:
    values: dict[tuple[str, str], list[float]] = {}
    ticks_before, moved = cpu_seconds(tund), 0
    for number in range(repetitions):
        print(f"repetition {number + 1}/{repetitions}", flush=True)
        for way in ways:
            for figure, transfer in (("up, MB/s", bulk.upload), ("down, MB/s", bulk.download)):
                rate = in_thread(partial(megabytes_per_second, transfer, way.bulk, size, 1))
                values.setdefault((figure, way.name), []).append(rate)
            moved += 2 * size if way.name == "fake address" else 0
    cpu = (cpu_seconds(tund) - ticks_before) / (moved / 1e9)
    for _ in range(repetitions):
        for way in ways:
            if way.echo is not None:
                rate = in_thread(partial(storm.connections_per_second, way.echo, connections, CONCURRENCY))
                values.setdefault(("connections, 1/s", way.name), []).append(rate)
    pss = (pss_bytes(tund) or 0) / 1e6
    return report(values, [way.name for way in ways], cpu, pss)


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


def report(values: dict[tuple[str, str], list[float]], names: Sequence[str], cpu: float, pss: float) -> int:
    """The table, then each target; 1 if one is not met."""
    print(f"\n{'':18}" + "".join(f"{name:>20}" for name in names))
    figures = list(dict.fromkeys(figure for figure, _ in values))
    medians = {key: statistics.median(found) for key, found in values.items()}
    for figure in figures:
        cells = [f"{medians[figure, name]:,.0f}" if (figure, name) in medians else "-" for name in names]
        print(f"{figure:18}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"tund: {pss:.1f} MB (PSS), {cpu:.2f} s of processor for each GB\n")
    met = [verdict("tund's memory", pss, TUND_MB, " MB", least=False)]
    for figure in figures:
        least = CONNECTION_SHARE if figure.startswith("connections") else BULK_SHARE
        short = figure.partition(",")[0]
        share = medians[figure, "fake address"] / medians[figure, "local forward"]
        met.append(verdict(f"{short}: fake address / local forward", share, least, " x"))
        if (figure, "wireguard-go") in medians:
            times = medians[figure, "fake address"] / medians[figure, "wireguard-go"]
            met.append(
                verdict(f"{figure.partition(',')[0]}: fake address / wireguard-go", times, WIREGUARD_TIMES, " x")
            )
    return 0 if all(met) else 1


def verdict(what: str, found: float, bound: float, unit: str, *, least: bool = True) -> bool:
    met = found >= bound if least else found <= bound
    print(f"{'met' if met else 'NOT met':8}{what}: {found:.2f}{unit} ({'>=' if least else '<='} {bound:g}{unit})")
    return met


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(code)
