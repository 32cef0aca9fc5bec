"""Where the programs begin: the one command that is in a hurry first, then all others.

ssh starts ``nc`` for each connection, and loading the command line library takes longer than all that ``nc`` has to do.
"""

import sys

from hyperion.cli.quick_nc import attempt

PROGRAM = "hyperion-client"


def client() -> None:
    """Entry point of ``hyperion-client``."""
    if sys.argv[1:2] == ["nc"] and (code := attempt(PROGRAM, sys.argv[2:])) is not None:
        sys.exit(code)
    # Here, because it loads what the lines above do without.
    from hyperion.cli.client import main  # noqa: PLC0415

    main()
