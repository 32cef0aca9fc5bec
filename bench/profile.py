"""Where the time goes inside the workers: ``python -m bench.profile up|down|connections|round-trips``.

One server worker and one client worker under cProfile, one load, then the functions that took longest on each side.
cProfile itself costs two thirds of the speed: the order of the functions is what to read, not the seconds.
"""

import argparse
import pstats
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import bulk, service, storm
from bench.bare import BareWorkers
from bench.bulk import Address
from bench.plan import MIB

#: Functions shown of each side.
SHOWN = 25

LOADS: dict[str, tuple[str, Callable[[Address, int], object]]] = {
    "up": ("bulk", lambda address, amount: bulk.upload(address, amount * MIB)),
    "down": ("bulk", lambda address, amount: bulk.download(address, amount * MIB)),
    "connections": ("echo", lambda address, amount: storm.connections_per_second(address, amount, 64)),
    "round-trips": ("echo", lambda address, amount: storm.round_trips(address, 1024, amount)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="where the workers spend their time")
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("--amount", type=int, default=256, help="MiB, connections or round trips (256)")
    parser.add_argument("--sort", default="tottime", choices=["tottime", "cumtime", "ncalls"])
    options = parser.parse_args()
    reached, load = LOADS[options.load]
    with tempfile.TemporaryDirectory(prefix="hyperion-profile-") as name:
        child, ports = service.start()
        with child:
            workers = BareWorkers(Path(name))
            try:
                workers.start(ports)
                load(workers.address(reached), options.amount)
            finally:
                workers.stop()
        for side in ("client", "server"):
            print(f"--- {side} worker")
            pstats.Stats(f"{name}/{side}.prof").strip_dirs().sort_stats(options.sort).print_stats(SHOWN)


if __name__ == "__main__":
    main()
