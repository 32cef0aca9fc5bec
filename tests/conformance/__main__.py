"""``python -m tests.conformance``: runs all cases, prints the table, exits with 1 if one fails."""

import sys
import traceback

from tests.conformance.case import Case, table
from tests.conformance.cases import ALL_CASES


def _passes(case: Case) -> bool:
    try:
        case.check()
    except Exception:  # noqa: BLE001 - whatever a case raises, the table goes on
        traceback.print_exc()
        return False
    return True


def main() -> int:
    """Exit status: 0 if every case passes."""
    results = {case.number: _passes(case) for case in ALL_CASES}
    print("\n".join(table(ALL_CASES, results)))
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
