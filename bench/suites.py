"""The suites that run on every peer in turn: bulk, many streams, connections, round trips.

The load runs in a process of its own, so that reading the logs of what is measured never shares an interpreter with it.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from bench import bulk, storm
from bench.bulk import Address
from bench.child import Child
from bench.peers import Peer
from bench.plan import Plan, Values
from bench.stats import quantile

#: Seconds one measurement may take: 1 GiB at 10 MB/s.
MEASUREMENT_TIMEOUT = 110.0

#: Seconds until the bulk transfer beside the round trips flows.
FLOW_TIMEOUT = 20.0

MICROSECONDS = 1e6

P = ParamSpec("P")
T = TypeVar("T")


class Load:
    """The process that makes the load. A context manager."""

    def __init__(self) -> None:
        # Not fork: this process has threads that read logs.
        self._pool: Executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pool.shutdown()

    def run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function of a module there. Raises what it raises, TimeoutError when it takes too long."""
        return self._pool.submit(function, *arguments, **options).result(MEASUREMENT_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Suite:
    """A name and how to measure one peer once."""

    name: str
    measure: Callable[[Plan, Load, Peer], Values]


def measure_bulk(plan: Plan, load: Load, peer: Peer) -> Values:
    address = peer.address("bulk")
    return {
        "bulk-up": load.run(megabytes_per_second, bulk.upload, address, plan.bulk_bytes, 1),
        "bulk-down": load.run(megabytes_per_second, bulk.download, address, plan.bulk_bytes, 1),
    }


def measure_many(plan: Plan, load: Load, peer: Peer) -> Values:
    address = peer.address("bulk")
    streams = plan.parallel_streams
    return {
        "bulk-up-many": load.run(megabytes_per_second, bulk.upload, address, plan.bulk_bytes, streams),
        "bulk-down-many": load.run(megabytes_per_second, bulk.download, address, plan.bulk_bytes, streams),
    }


def measure_connections(plan: Plan, load: Load, peer: Peer) -> Values:
    rate = load.run(storm.connections_per_second, peer.address("echo"), plan.storm_connections, plan.storm_concurrency)
    return {"connections": rate}


def measure_round_trips(plan: Plan, load: Load, peer: Peer) -> Values:
    times = load.run(storm.round_trips, peer.address("echo"), plan.round_trip_bytes, plan.round_trips)
    return quantiles("round-trip", times)


def measure_busy_round_trips(plan: Plan, load: Load, peer: Peer) -> Values:
    with background_download(peer.address("bulk")) as child:
        child.wait_line(bulk.FLOWING, FLOW_TIMEOUT)
        times = load.run(storm.round_trips, peer.address("echo"), plan.round_trip_bytes, plan.busy_round_trips)
    return quantiles("busy-round-trip", times)


SUITES = (
    Suite("bulk", measure_bulk),
    Suite("many", measure_many),
    Suite("connections", measure_connections),
    Suite("round-trip", measure_round_trips),
    Suite("busy-round-trip", measure_busy_round_trips),
)


def megabytes_per_second(
    transfer: Callable[[Address, int], object], address: Address, size: int, streams: int
) -> float:
    """``size`` bytes over ``streams`` connections at once, each a thread that sleeps in the kernel."""
    each = size // streams
    start = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        for done in [pool.submit(transfer, address, each) for _ in range(streams)]:
            done.result()
    return each * streams / (time.perf_counter() - start) / 1e6


def quantiles(prefix: str, seconds: list[float]) -> Values:
    return {f"{prefix}-p{share}": quantile(seconds, share / 100) * MICROSECONDS for share in (50, 99)}


def background_download(address: Address) -> Child:
    """A process that downloads until it is stopped."""
    return Child("background-download", [sys.executable, "-m", "bench.bulk", str(address[1])])
