"""``python -m bench``: choose what is measured, run it, show the tables, save the values."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.child import ChildError
from bench.memory import raise_file_limit
from bench.plan import MIB, QUICK, Plan
from bench.report import make_console, show
from bench.run import BARE, SUITE_NAMES, Run, makers, missing_programs
from bench.tunnel import Options

EXIT_FAILED = 1
EXIT_USAGE = 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="figures with the peers side by side")
    peers = list(makers(Options()))
    parser.add_argument("--suite", action="append", choices=SUITE_NAMES, help="only this one; may be given again")
    parser.add_argument("--peer", action="append", choices=peers, help="only this one; may be given again")
    parser.add_argument("--repetitions", type=int, metavar="N", help="of each suite (5)")
    parser.add_argument("--bulk-mib", type=int, metavar="N", help="MiB of one bulk transfer (1024)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of the server (2)")
    parser.add_argument("--log-level", default="info", help="of hyperion; what users run is info")
    parser.add_argument("--quick", action="store_true", help="everything once and tiny: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all values; python -m bench.report reads them")
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else Plan()
    if options.repetitions:
        plan = replace(plan, repetitions=options.repetitions)
    if options.bulk_mib:
        plan = replace(plan, bulk_bytes=options.bulk_mib * MIB)
    return plan


def main() -> int:
    options = parse()
    console = make_console()
    peers = options.peer or [peer for peer in makers(Options()) if peer != BARE]
    missing = missing_programs(peers)
    if missing:
        console.print(f"error: {'; '.join(missing)}", style="red", markup=False)
        return EXIT_USAGE
    # SIGTERM ends like Ctrl-C: by an exception, so that everything started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="hyperion-bench-") as directory:
        tunnel = Options(workers=options.workers, log_level=options.log_level)
        run = Run(plan_of(options), tunnel, Path(directory), partial(console.print, highlight=False, markup=False))
        try:
            results = run.run(options.suite or SUITE_NAMES, peers)
        except ChildError as error:
            console.print(f"error: {error}", style="red", markup=False)
            for line in error.tail[-20:]:
                console.print(f"    {line}", markup=False, highlight=False)
            return EXIT_FAILED
        except KeyboardInterrupt:
            console.print("stopped")
            return EXIT_FAILED
    if options.json:
        options.json.write_text(json.dumps(results.encode(), indent=1) + "\n", encoding="utf-8")
    show(results, console)
    return EXIT_FAILED if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
