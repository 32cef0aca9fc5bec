"""Which command goes which way, and how long the quick one takes to start."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyperion.cli import client, entry, quick_nc

#: As often as a median needs.
TURNS = 7
#: The promise: no more than so many times the start-up of an interpreter that loads asyncio.
FACTOR = 2.0


@pytest.mark.parametrize(
    ("argv", "quick"),
    [(["nc", "web1", "22"], True), (["nc", "--help"], True), (["ls"], False), (["--help"], False), ([], False)],
)
def test_only_nc_is_tried_quickly(argv: list[str], quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []
    went_on: list[bool] = []

    def attempt(_program: str, arguments: list[str]) -> None:
        tried.append(arguments)

    monkeypatch.setattr(sys, "argv", ["hyperion-client", *argv])
    monkeypatch.setattr(quick_nc, "attempt", attempt)
    monkeypatch.setattr(client, "main", lambda: went_on.append(True))
    entry.client()
    assert tried == ([argv[1:]] if quick else [])
    assert went_on == [True]


def test_a_quick_one_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hyperion-client", "nc", "web1", "22"])
    monkeypatch.setattr(quick_nc, "attempt", lambda *_: 69)
    with pytest.raises(SystemExit) as caught:
        entry.client()
    assert caught.value.code == 69


def seconds(code: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=20)
    return time.perf_counter() - began


def test_start_up(tmp_path: Path) -> None:
    """Side by side, so that a slow machine is slow for both."""
    environment = {**os.environ, "HYPERION_HOME": str(tmp_path)}
    look = "from hyperion.cli.quick_nc import attempt; assert attempt('hyperion-client', ['web1', '22']) is None"
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(TURNS):
        bare.append(seconds("import asyncio", environment))
        ours.append(seconds(look, environment))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"nc starts in {ratio:.2f} of python -c 'import asyncio' ({statistics.median(ours) * 1000:.0f} ms)")
    assert ratio <= FACTOR
