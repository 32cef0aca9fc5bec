"""The scripts behind ``make``: which interpreter is taken, and what is said when none will do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIND_PYTHON = ROOT / "tools" / "find_python.sh"


def find_python(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with only ``path`` and the bare system in PATH."""
    return subprocess.run(
        ["/bin/bash", str(FIND_PYTHON), *arguments],
        env={"PATH": str(path), "HOME": str(path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def put(directory: Path, name: str, body: str) -> Path:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.fixture
def real(tmp_path: Path) -> str:
    """Body of a script that is this interpreter under another name."""
    assert os.path.isabs(sys.executable)
    return f'exec "{sys.executable}" "$@"'


def test_a_shim_that_answers_nothing_is_passed_over(tmp_path: Path, real: str) -> None:
    put(tmp_path, "python3.13", "echo 'no such version' >&2; exit 127")
    put(tmp_path, "python3", real)
    result = find_python(tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, sys.executable)


def test_one_without_venv_or_too_old_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "python3", "exit 1")
    result = find_python(tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: no Python 3.11 or newer")
    assert "hint: on Debian 'apt-get install python3 python3-venv'" in result.stderr


def test_the_one_asked_for_is_the_only_candidate(tmp_path: Path, real: str) -> None:
    put(tmp_path, "python3", real)
    old = put(tmp_path, "python old", "exit 1")
    result = find_python(tmp_path, str(old))
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: PYTHON={old} is not a Python 3.11")
    chosen = put(tmp_path, "my python", real)
    assert find_python(tmp_path, str(chosen)).stdout.strip() == sys.executable


def test_two_interpreters_are_not_confused(tmp_path: Path, real: str) -> None:
    put(tmp_path, "python3.12", real)
    put(tmp_path, "python3.11", "case $2 in *sys.executable*) echo wrong;; esac")
    assert find_python(tmp_path).stdout.strip() == sys.executable
