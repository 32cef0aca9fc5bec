"""What it does, it does in a child only: there is no way back."""

import subprocess
import sys
from pathlib import Path

import pytest

from hyperion.supervisor import disarm

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def status_after(code: str) -> dict[str, int]:
    command = [sys.executable, "-c", f"{code}; print(open('/proc/self/status').read())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    status = dict(line.split(":", 1) for line in done.stdout.splitlines() if line)
    return {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs")}


def test_in_the_fork_server_everything_is_given_up() -> None:
    found = status_after("from multiprocessing.forkserver import main; import hyperion.supervisor.disarm")
    assert found == {"CapPrm": 0, "CapEff": 0, "CapInh": 0, "CapAmb": 0, "NoNewPrivs": 1}


def test_elsewhere_nothing_happens() -> None:
    assert not disarm.in_fork_server()
    assert status_after("import hyperion.supervisor.disarm") == status_after("pass")
