"""What a gigabyte costs each process: ``python -m bench.cost up|down``.

One server worker and one client worker without a supervisor, one load, one service. CPU time hardly depends on what
else the machine does, and throughput does: this is what to look at after each change of a hot path, where the suite
``bulk`` is the proof. Linux only.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench import bulk, service
from bench.bare import BareWorkers
from bench.bulk import Address, Transfer
from bench.plan import MIB
from bench.processes import PROC

#: Transfers before the first that counts: windows and socket buffers have grown by then.
WARM_UP_BYTES = 64 * MIB

#: Fields of /proc/PID/stat after the name: clock ticks in user mode and in the kernel, of all threads that ever ran.
STAT_USER, STAT_SYSTEM = 11, 12

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

LOADS: dict[str, Callable[[Address, int], Transfer]] = {"up": bulk.upload, "down": bulk.download}


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of processor time, and how often the first thread slept and was made to wait."""

    user: float
    system: float
    slept: float
    preempted: float

    @classmethod
    def so_far(cls, pid: int) -> Self:
        """Of a process that lives. Raises OSError if it does not."""
        process = Path(PROC, str(pid))
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (process / "status").read_text(errors="replace").splitlines())
        return cls(
            int(fields[STAT_USER]) / TICKS_PER_SECOND,
            int(fields[STAT_SYSTEM]) / TICKS_PER_SECOND,
            int(status["voluntary_ctxt_switches"]),
            int(status["nonvoluntary_ctxt_switches"]),
        )

    def per_gibibyte(self, before: Self, size: int) -> "Cost":
        part = size / (1024 * MIB)
        return Cost(
            (self.user - before.user) / part,
            (self.system - before.system) / part,
            (self.slept - before.slept) / part,
            (self.preempted - before.preempted) / part,
        )


def measure(
    load: Callable[[Address, int], Transfer], address: Address, size: int, pids: dict[str, int]
) -> dict[str, Cost]:
    """One transfer's cost for each process."""
    before = {name: Cost.so_far(pid) for name, pid in pids.items()}
    load(address, size)
    return {name: Cost.so_far(pid).per_gibibyte(before[name], size) for name, pid in pids.items()}


def show(runs: list[dict[str, Cost]]) -> None:
    """The medians."""
    print(f"{'per GiB':10}{'user':>8}{'kernel':>8}{'both':>8}  s {'slept':>8}{'preempted':>11}  times")
    total = 0.0
    for name in runs[0]:
        costs = [run[name] for run in runs]
        user = statistics.median(cost.user for cost in costs)
        system = statistics.median(cost.system for cost in costs)
        slept = statistics.median(cost.slept for cost in costs)
        preempted = statistics.median(cost.preempted for cost in costs)
        total += user + system
        print(f"{name:10}{user:8.2f}{system:8.2f}{user + system:8.2f}    {slept:8,.0f}{preempted:11,.0f}")
    print(f"{'all':10}{'':16}{total:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description="processor time of a bulk transfer")
    parser.add_argument("direction", choices=LOADS)
    parser.add_argument("--mib", type=int, default=512, help="size of a transfer (512)")
    parser.add_argument("--repetitions", type=int, default=5, help="transfers (5); the medians are shown")
    options = parser.parse_args()
    load = LOADS[options.direction]
    child, ports = service.start()
    with child:
        workers = BareWorkers()
        try:
            workers.start(ports)
            address = workers.address("bulk")
            pids = {side: numbers[0] for side, numbers in workers.pids().items()}
            pids |= {"service": child.pid, "load": os.getpid()}
            load(address, WARM_UP_BYTES)
            show([measure(load, address, options.mib * MIB, pids) for _ in range(options.repetitions)])
        finally:
            workers.stop()


if __name__ == "__main__":
    main()
