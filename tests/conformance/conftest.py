"""Prints the table at the end of a run that contained it."""

import re

import pytest

from tests.conformance.case import table
from tests.conformance.cases import ALL_CASES

_NUMBER = re.compile(r"test_conformance\.py::test_case\[(\d+\.\d+)\]$")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each case that ran."""
    results: dict[str, bool] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if match := _NUMBER.search(report.nodeid):
                results[match[1]] = outcome == "passed"
    if results:
        terminalreporter.section("yamux conformance")
        for line in table(ALL_CASES, results):
            terminalreporter.write_line(line)
