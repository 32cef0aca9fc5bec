"""``python -m hyperion.cli server ...`` and ``... client ...``: the programs, where their names are not on the path."""

import sys

from hyperion.cli.border import run_program


def main() -> int:
    """The program named first, with the arguments behind it. Returns the exit code."""
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name == "server":
        # Here, because the other one is not needed.
        from hyperion.cli.server import PROGRAM, program  # noqa: PLC0415

        return run_program(PROGRAM, program, arguments)
    if name == "client":
        from hyperion.cli.client import PROGRAM, program  # noqa: PLC0415

        return run_program(PROGRAM, program, arguments)
    print("usage: python -m hyperion.cli server|client ...", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
