"""Memory: what an idle stream costs on each side, and what forty client workers cost.

PSS, so that pages shared by forked workers count once. An idle stream's cost is a slope over several numbers of streams
on processes that never carried one before: an allocator that kept what an earlier load left would hide the cost.
Reading the PSS of a hyperion worker takes root, for it is not dumpable.
"""

import contextlib
import resource
from collections.abc import Sequence
from pathlib import Path

from bench import storm
from bench.child import ChildError
from bench.peers import Peer, Ports
from bench.plan import Plan, Values
from bench.processes import family, pss_bytes
from bench.stats import slope
from bench.tunnel import HyperionTunnel, Options, workers

#: Streams opened before the first look: what the first few cost is the code's warming up.
WARM_UP_STREAMS = 50

#: Streams we put on one connection of hyperion's pool, well under the 512 a connection takes.
STREAMS_PER_CONNECTION = 400

KILO = 1e3
MEGA = 1e6


def raise_file_limit() -> int:
    """As many open files as the system lets us have, for us and all we start. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def idle_tunnel(directory: Path, plan: Plan) -> HyperionTunnel:
    """A tunnel with a pool large enough for all idle streams."""
    connections = -(-plan.idle_streams // STREAMS_PER_CONNECTION)
    return HyperionTunnel(directory, Options(pool_size=connections))


def measure_idle_streams(plan: Plan, peer: Peer, ports: Ports) -> Values:
    """Start the fresh peer, open streams in steps, weigh each side after each step, stop it. Raises ChildError."""
    peer.start(ports)
    try:
        with contextlib.ExitStack() as stack:
            open_streams(peer, WARM_UP_STREAMS, stack)
            points: dict[str, list[tuple[float, float]]] = {}
            step = plan.idle_streams // plan.idle_steps
            for number in range(plan.idle_steps + 1):
                if number:
                    open_streams(peer, step, stack)
                for side, pids in peer.pids().items():
                    points.setdefault(side, []).append((number * step, total_pss(pids)))
    finally:
        peer.stop()
    return {f"idle-stream-{side}": slope(weighed) / KILO for side, weighed in points.items()}


def open_streams(peer: Peer, count: int, stack: contextlib.ExitStack) -> None:
    """Open idle streams and leave it to the stack to close them."""
    for connection in storm.open_idle(peer.address("echo"), count):
        stack.enter_context(connection)


def measure_client_workers(plan: Plan, directory: Path, ports: Ports) -> Values:
    """Forty names of one server, each with a worker and its pool. Raises ChildError."""
    names = tuple(f"server{number}" for number in range(plan.client_workers))
    tunnel = HyperionTunnel(directory, Options(servers=names))
    echo_only = {"echo": ports["echo"]}
    try:
        tunnel.prepare(echo_only)
        tunnel.start_server()
        tunnel.start_client(echo_only)
        for address in tunnel.all_addresses():
            carry_one_byte(address)
        assert tunnel.client is not None
        members = workers(tunnel.client)
        if len(members) != len(names):
            raise ChildError(f"{len(members)} workers for {len(names)} servers", tunnel.client.tail())
        each = total_pss([member.pid for member in members]) / len(members)
        total = total_pss([member.pid for member in family(tunnel.client.pid)])
    finally:
        tunnel.stop()
    return {"worker-memory": each / MEGA, "worker-memory-total": total / MEGA}


def carry_one_byte(address: tuple[str, int]) -> None:
    """Through the tunnel and back: after it the worker is up and has run all its code once."""
    for connection in storm.open_idle(address, 1):
        connection.close()


def total_pss(pids: Sequence[int]) -> int:
    """Bytes. Raises ChildError for a process whose PSS cannot be read: half a sum would look good."""
    total = 0
    for pid in pids:
        weight = pss_bytes(pid)
        if weight is None:
            raise ChildError(f"the PSS of process {pid} cannot be read (a worker's takes root)")
        total += weight
    return total
