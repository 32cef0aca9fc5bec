"""``python -m bench.startup``: how long a command takes, beside an interpreter that loads asyncio.

Each from its start to its end, in turn: a slow machine is slow for all. The figure is the ratio of the medians; wall
time, and processor time, which other work on the machine changes less.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import service, stats
from bench.child import ChildError
from bench.peers import Ports
from bench.tunnel import HyperionTunnel, Options, program

#: What all others are compared with.
BASE = "import asyncio"
#: The promise, for those that somebody waits for at every turn.
FACTOR = 2.0
PROMISED = ("nc", "status", "status, nothing runs")

#: Seconds that one command may take.
COMMAND_TIMEOUT = 60.0


class Command(NamedTuple):
    """What is started, in which environment, and the exit code that it ends with."""

    line: Sequence[str]
    environment: Mapping[str, str] = {}
    code: int = 0


class Times(NamedTuple):
    """Seconds of each turn."""

    wall: list[float]
    cpu: list[float]


def commands(directory: Path, ports: Ports) -> dict[str, Command]:
    """By name. A client with a server called ``bench`` runs for the configuration in ``directory``."""
    client, server = program("client"), program("server")
    config = ["-c", str(directory / "client.toml")]
    runs, rests = {"HYPERION_HOME": str(directory)}, {"HYPERION_HOME": str(directory / "nowhere")}
    return {
        BASE: Command([sys.executable, "-c", BASE]),
        "nc": Command([*client, "nc", *config, "bench", str(ports["echo"])], runs),
        "status": Command([*client, "status", *config], runs),
        "status --json": Command([*client, "status", *config, "--json"], runs),
        "status, nothing runs": Command([*client, "status", *config], rests, 3),
        "ls": Command([*client, "ls", *config], runs),
        "doctor --help": Command([*client, "doctor", "--help"], runs),
        "--version": Command([*client, "--version"], runs),
        "hyperion-server status": Command([*server, "status", "-c", str(directory / "server.toml")], runs),
    }


def run(command: Command) -> tuple[float, float]:
    """Seconds of the clock, and of the processors. Raises ChildError if it ends in another way."""
    environment = {**os.environ, **command.environment}
    used, began = processor(), time.perf_counter()
    done = subprocess.run(
        command.line,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_TIMEOUT,
        check=False,
    )
    wall, cpu = time.perf_counter() - began, processor() - used
    if done.returncode != command.code:
        said = done.stderr.decode("utf-8", "replace").splitlines()
        raise ChildError(f"{' '.join(command.line)}: exit {done.returncode}, not {command.code}", said)
    return wall, cpu


def processor() -> float:
    """Seconds that children which have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(wanted: Mapping[str, Command], repetitions: int) -> dict[str, Times]:
    """All in turn in each repetition; once before, because the first start writes what Python compiles."""
    found = {name: Times([], []) for name in wanted}
    for turn in range(repetitions + 1):
        for name, command in wanted.items():
            wall, cpu = run(command)
            if turn:
                found[name].wall.append(wall)
                found[name].cpu.append(cpu)
    return found


def lines(found: Mapping[str, Times]) -> list[str]:
    """A Markdown table: median in ms, and the ratios to ``import asyncio``."""
    base = found[BASE]
    shown = ["| command | ms | wall, ratio | processor, ratio | |", "|---|---|---|---|---|"]
    for name, times in found.items():
        wall, cpu = stats.ratio(times.wall, base.wall), stats.ratio(times.cpu, base.cpu)
        verdict = "" if name not in PROMISED else f"<= {FACTOR:g} x: {'met' if wall <= FACTOR else 'NOT MET'}"
        median = stats.spread(times.wall).median * 1e3
        shown.append(f"| `{name}` | {median:.0f} | {wall:.2f} | {cpu:.2f} | {verdict} |")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description="start-up of commands")
    parser.add_argument("--repetitions", type=int, default=15, help="of each (15)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hyp") as directory:
        child, ports = service.start()
        tunnel = HyperionTunnel(Path(directory) / "s", Options(workers=1))
        with child:
            try:
                tunnel.start(ports)
                found = measure(commands(Path(directory) / "s", ports), options.repetitions)
            finally:
                tunnel.stop()
    for line in lines(found):
        print(line)


if __name__ == "__main__":
    main()
