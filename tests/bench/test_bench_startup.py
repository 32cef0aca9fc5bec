"""Every command of the table ends as it should, and the lines say what was found."""

import sys
from pathlib import Path

import pytest

from bench import service
from bench.child import ChildError
from bench.startup import BASE, Command, Times, commands, lines, measure, run
from bench.tunnel import HyperionTunnel, Options


@pytest.mark.timeout(120)
def test_every_command(tmp_path: Path) -> None:
    child, ports = service.start()
    tunnel = HyperionTunnel(tmp_path / "s", Options(workers=1))
    with child:
        try:
            tunnel.start(ports)
            found = measure(commands(tmp_path / "s", ports), 1)
        finally:
            tunnel.stop()
    assert [len(times.wall) for times in found.values()] == [1] * len(found)
    assert all(times.cpu[0] > 0 for times in found.values())
    assert len(lines(found)) == len(found) + 2


def test_the_verdict() -> None:
    found = {BASE: Times([0.1], [0.1]), "nc": Times([0.19], [0.1]), "status": Times([0.21], [0.2])}
    assert lines(found)[2:] == [
        f"| `{BASE}` | 100 | 1.00 | 1.00 |  |",
        "| `nc` | 190 | 1.90 | 1.00 | <= 2 x: met |",
        "| `status` | 210 | 2.10 | 2.00 | <= 2 x: NOT MET |",
    ]


def test_a_command_that_fails_is_no_figure() -> None:
    with pytest.raises(ChildError, match="exit 7, not 0"):
        run(Command([sys.executable, "-c", "raise SystemExit(7)"]))
