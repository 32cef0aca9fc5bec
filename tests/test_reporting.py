"""No test is left out silently: what ``tests/conftest.py`` does with skips, shown on a made-up suite."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[1]

SUITE = """
import asyncio
import pytest

def test_passes(): ...

@pytest.mark.needs("sh", "no-such-program")
def test_program(): ...

@pytest.mark.both_loops
async def test_loop():
    print("ran on", type(asyncio.get_running_loop()).__module__)
"""


def run_suite(directory: Path, suite: str, *options: str, ci: str | None) -> subprocess.CompletedProcess[str]:
    """Runs pytest with our configuration and conftest on one file, in a process of its own."""
    tests = directory / "tests"
    (tests / "helpers").mkdir(parents=True)
    (directory / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for name in ("conftest.py", "helpers/__init__.py", "helpers/programs.py"):
        (tests / name).write_bytes((ROOT / "tests" / name).read_bytes())
    (tests / "test_suite.py").write_text(suite, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    return subprocess.run(
        command,
        cwd=directory,
        env=environment | ({} if ci is None else {"CI": ci}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.mark.parametrize("ci", [None, "", "false"])
def test_a_skip_is_listed_with_its_reason(tmp_path: Path, ci: str | None) -> None:
    result = run_suite(tmp_path, SUITE, ci=ci)
    assert result.returncode == pytest.ExitCode.OK
    assert "tests/test_suite.py::test_program: needs no-such-program\n" in result.stdout
    assert "3 passed, 1 skipped" in result.stdout


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["serial", "xdist"])
def test_a_skip_fails_in_ci(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run_suite(tmp_path, SUITE, *options, ci="true")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "a test that did not run counts as a failure" in result.stdout


def test_a_whole_file_that_skips_itself_fails_in_ci(tmp_path: Path) -> None:
    suite = 'import pytest\npytest.skip("not here", allow_module_level=True)\n'
    result = run_suite(tmp_path, suite, ci="true")
    assert result.returncode != pytest.ExitCode.OK
    assert "tests/test_suite.py: not here\n" in result.stdout


def test_both_loops_run(tmp_path: Path) -> None:
    result = run_suite(tmp_path, SUITE, "-s", ci=None)
    assert "ran on asyncio.unix_events" in result.stdout
    assert "ran on uvloop" in result.stdout


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["serial", "xdist"])
def test_in_the_background_signals_come_through_all_the_same(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What ``nohup`` and ``&`` ignore would be ignored by all programs under test."""
    suite = """
import signal
import subprocess
import pytest

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it(number):
    with subprocess.Popen(["sleep", "30"]) as child:
        child.send_signal(number)
        assert child.wait(20) == -number
"""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        result = run_suite(tmp_path, suite, *options, ci=None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "2 passed" in result.stdout


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    result = run_suite(tmp_path, "import warnings\ndef test_it(): warnings.warn('odd')\n", ci=None)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_coroutine_nobody_awaits_is_an_error(tmp_path: Path) -> None:
    suite = "async def forgotten(): ...\nasync def test_it(): forgotten()\n"
    assert run_suite(tmp_path, suite, ci=None).returncode == pytest.ExitCode.TESTS_FAILED
