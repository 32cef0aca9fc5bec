"""What a case is, and the register of all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Check = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    number: str
    section: str
    title: str
    check: Check


CASES: list[Case] = []


class Section:
    """Numbers the cases of one module in the order they are written."""

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._count = 0

    def case(self, title: str) -> Callable[[Check], Check]:
        """Registers the function below as the next case."""

        def register(check: Check) -> Check:
            self._count += 1
            CASES.append(Case(f"{self._number}.{self._count}", self._name, title, check))
            return check

        return register


def table(cases: Sequence[Case], results: dict[str, bool]) -> list[str]:
    """Lines of the table; ``results`` says for a case's number whether it passed. Other cases are left out."""
    width = max(len(case.title) for case in cases)
    lines, section = [], ""
    for case in cases:
        if case.number not in results:
            continue
        if case.section != section:
            section = case.section
            lines.append(f"-- {section}")
        lines.append(f"{case.number:>5}  {case.title:<{width}}  {'pass' if results[case.number] else 'FAIL'}")
    passed = sum(results.values())
    lines.append(f"{passed} of {len(results)} cases pass")
    return lines
