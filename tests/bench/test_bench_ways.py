"""Each way carries the bulk service's bytes, and the lines say so."""

from pathlib import Path

import pytest

from bench import service, ways
from bench.ways import FORWARD, NC, NC_ALONE, SOCKS, Ways, lines, measure


@pytest.mark.timeout(120)
def test_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "SETTLE_SECONDS", 0.0)
    child, ports = service.start()
    made = Ways(tmp_path / "w")
    with child:
        try:
            made.start(ports)
            found = measure(made, 1_000_003, 1)
        finally:
            made.stop()
    assert list(found["up"]) == list(found["down"]) == [FORWARD, SOCKS, NC, NC_ALONE]
    assert all(value > 0 for direction in found.values() for values in direction.values() for value in values)
    shown = lines(found)
    assert len(shown) == 4
    assert shown[0].count("(x1.00)") == 2
