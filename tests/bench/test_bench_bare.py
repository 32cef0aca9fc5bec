"""Two bare workers carry the bench's services, and leave a profile of themselves when asked."""

import contextlib
import pstats
from pathlib import Path

from bench import bulk, service, storm
from bench.bare import BareWorkers


def test_bytes_arrive_and_profiles_are_written(tmp_path: Path) -> None:
    child, ports = service.start()
    workers = BareWorkers(profiles=tmp_path)
    with child, contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(workers.stop)
        workers.start(ports)
        bulk.upload(workers.address("bulk"), 1_000_003, hashed=True)
        bulk.download(workers.address("bulk"), 1_000_003, hashed=True)
        assert storm.connections_per_second(workers.address("echo"), 20, 8) > 0
    for side in ("client", "server"):
        functions = [function for _, _, function in pstats.Stats(str(tmp_path / f"{side}.prof")).stats]  # type: ignore[attr-defined]
        assert "_serve" in functions
