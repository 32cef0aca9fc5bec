"""``reload``: the program that runs reads its configuration again; what is wrong with it is told here, not in a log.

The same under a service manager: the program tells that one itself.
"""

from pathlib import Path

from hyperion.cli.down import LABELS
from hyperion.cli.output import say
from hyperion.cli.status import ANSWER_SECONDS
from hyperion.errors import NotRunningError
from hyperion.paths import Program
from hyperion.proto.operator import ReloadRequest, StatusRequest
from hyperion.running import TITLES, demand, find


def run_reload(program: Program, config_file: Path | None, *, dry_run: bool) -> int:
    """Returns 0 when the new configuration is in force.

    Raises ``NotRunningError``, ``TemporaryError`` if it hangs, or the error that the program refused the configuration
    with: then all is as before.
    """
    running = find(program, config_file)
    if running is None:
        raise NotRunningError(f"{TITLES[program]} is not running", hint=f"start it with: {TITLES[program]} up")
    if dry_run:
        say(f"would ask {LABELS[program]} (pid {running.pid}) to read its configuration again")
        return 0
    # Asked first, because a reload may take long, and one that hangs is told apart by what never does.
    demand(running.directory, StatusRequest(), ANSWER_SECONDS)
    demand(running.directory, ReloadRequest())
    say(f"{LABELS[program]} reloaded (pid {running.pid})")
    return 0
