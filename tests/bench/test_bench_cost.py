"""What a gigabyte costs: the arithmetic, and a process that is known."""

import os
import sys
import time

import pytest

from bench.cost import Cost, measure, show
from bench.plan import MIB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def test_a_quarter_of_a_gibibyte_counts_four_times() -> None:
    before = Cost(1.0, 2.0, 10, 20)
    assert Cost(1.25, 2.5, 11, 20).per_gibibyte(before, 256 * MIB) == Cost(1.0, 2.0, 4, 0)


def test_the_time_of_this_process_is_seen() -> None:
    def work(_address: tuple[str, int], _size: int) -> None:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass

    cost = measure(work, ("", 0), 1024 * MIB, {"me": os.getpid()})["me"]  # type: ignore[arg-type]
    assert 0.15 < cost.user + cost.system < 2


def test_medians_are_shown_with_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [{"client": Cost(user, 0.5, 100, 2000), "server": Cost(1.0, 0.25, 3, 4)} for user in (1.0, 9.0, 0.5)]
    show(runs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["client", "1.00", "0.50", "1.50", "100", "2,000"]
    assert lines[3].split() == ["all", "2.75"]
