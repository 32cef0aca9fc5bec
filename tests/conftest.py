"""What all tests share: how they run, and that none is left out silently.

* Async tests are plain ``async def test_...`` (pytest-asyncio, auto mode, one fresh loop for each test); async fixtures
  need no mark either. A test marked ``both_loops`` (or a module with ``pytestmark = pytest.mark.both_loops``) runs once
  on asyncio and once on uvloop; all others run on asyncio. No test calls ``asyncio.run`` around its body.
* ``@pytest.mark.needs("sshd", "psql")`` skips where a program is missing, ``@pytest.mark.root`` where we are not root.
  Programs are found with ``tests.helpers.programs.find_program``.
* Every skip is listed at the end with its reason. With ``CI`` set, a skip is a failure.
* ``make test`` runs several tests at a time. A test that cannot have others beside it, because it judges how long
  something takes, is marked ``alone``.
* Warnings are errors. A test may take 60 s, one of e2e 180 s (``@pytest.mark.timeout(120)`` where it must take longer).
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping

import hypothesis
import pytest

from tests.helpers.programs import find_program

#: Tests of one run that run at a time: more would only wait for one another, and for memory.
MAX_AT_A_TIME = 8

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# No deadline: a shared machine's pauses are not bugs. Derandomised: the same tree gives the same answer twice.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
# A search that differs each time: `make test-long`.
hypothesis.settings.register_profile("search", deadline=None, max_examples=2_000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def _new_uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """The loops one async test runs on (hook of pytest-asyncio)."""
    if item.get_closest_marker("both_loops") is None:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": _new_uvloop}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Applies the marks ``root`` and ``needs``."""
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        pytest.skip("needs root")
    wanted = [program for mark in item.iter_markers("needs") for program in mark.args]
    missing = [program for program in wanted if find_program(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def pytest_configure() -> None:
    """Undoes what ``nohup`` and ``&`` in a script do: they make us, and so all that we start, deaf to signals."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # We stay deaf, as was wished; a program does not inherit a handler.
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many run at a time with ``-n auto``: two for each processor, because most tests wait for other processes."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_AT_A_TIME, 2 * processors)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


def _skipped(config: pytest.Config) -> list[tuple[str, str]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return []
    return [(report.nodeid, _skip_reason(report)) for report in reporter.stats.get("skipped", [])]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run. (With xdist, only the controller has the whole list.)"""
    if _in_ci() and _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says which tests did not run, and why."""
    skipped = _skipped(config)
    if not skipped:
        return
    terminalreporter.section("tests that did not run")
    for node, reason in sorted(skipped):
        terminalreporter.write_line(f"{node}: {reason}")
    if _in_ci():
        terminalreporter.write_line("CI is set: a test that did not run counts as a failure", red=True)
