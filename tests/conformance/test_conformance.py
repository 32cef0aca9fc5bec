"""Runs the table under pytest, one test for each case."""

import pytest

from tests.conformance.case import Case
from tests.conformance.cases import ALL_CASES, SECTION_COUNT


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.number)
def test_case(case: Case) -> None:
    case.check()


def test_the_table_is_whole() -> None:
    assert len(ALL_CASES) >= 110
    assert len({case.section for case in ALL_CASES}) == SECTION_COUNT
    assert len({case.number for case in ALL_CASES}) == len(ALL_CASES)
