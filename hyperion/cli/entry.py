"""Where the programs begin: the one command that is in a hurry first, then all others.

ssh starts ``nc`` for each connection, and loading the command line library takes longer than all that ``nc`` has to do.
"""

import sys

PROGRAM = "hyperion-client"


def client() -> None:
    """Entry point of ``hyperion-client``."""
    # Imports here, because neither way needs what the other one loads.
    if sys.argv[1:2] == ["nc"]:
        from hyperion.cli.quick_nc import attempt  # noqa: PLC0415

        if (code := attempt(PROGRAM, sys.argv[2:])) is not None:
            sys.exit(code)
    from hyperion.cli.client import main  # noqa: PLC0415

    main()
