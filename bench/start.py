"""How long a worker takes from its start to Ready, seen from outside: a worker is killed and its replacement watched.

The start is the kernel's (start time in /proc, in clock ticks of 10 ms, rounded down, so a figure is up to 10 ms too
long, never too short); Ready is the time stamp of the supervisor's log line. The back-off before the restart does not
count.
"""

import datetime
import json
import os
import signal
import time
from pathlib import Path

from bench.child import Child
from bench.peers import START_TIMEOUT, Ports
from bench.plan import Plan
from bench.processes import read_process
from bench.tunnel import HyperionTunnel, Options, workers

#: The server's log code for "this worker is ready"; its line carries the worker's pid.
WORKER_READY = r'^\{.*"HYP4001I".*\}$'

MILLISECONDS = 1e3


def measure_worker_starts(plan: Plan, directory: Path, ports: Ports) -> list[float]:
    """Milliseconds of each restart. Raises ChildError."""
    tunnel = HyperionTunnel(directory, Options(workers=1))
    try:
        tunnel.prepare(ports)
        tunnel.start_server()
        assert tunnel.server is not None
        return [restart(tunnel.server, number) for number in range(plan.restarts)]
    finally:
        tunnel.stop()


def restart(server: Child, number: int) -> float:
    """Kill the worker for the ``number``-th time (from 0); milliseconds its replacement took."""
    for worker in workers(server):
        os.kill(worker.pid, signal.SIGKILL)
    line = server.wait_lines(WORKER_READY, number + 2, START_TIMEOUT)[-1]
    return ready_after(json.loads(line.group())) * MILLISECONDS


def ready_after(event: dict[str, object]) -> float:
    """Seconds from the start of the process an event is about to the event. Raises LookupError if it is gone."""
    described = event["process"]
    assert isinstance(described, dict)
    process = read_process(described["pid"])
    if process is None:
        raise LookupError(f"process {described['pid']} is gone")
    ready = datetime.datetime.fromisoformat(str(event["@timestamp"])).timestamp()
    return ready - started_at(process.start)


def started_at(ticks: int) -> float:
    """Unix time of a start given in clock ticks since boot."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")
