import subprocess
import sys

import pytest


@pytest.mark.parametrize(("name", "text"), [("server", "hyperion-server 0."), ("client", "hyperion-client 0.")])
def test_both_programs(name: str, text: str) -> None:
    command = [sys.executable, "-m", "hyperion.cli", name, "--version"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.startswith(text)


def test_neither() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hyperion.cli"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (2, "usage: python -m hyperion.cli server|client ...\n")
