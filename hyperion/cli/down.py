"""``down``: asks the program that runs to end, waits until it has, and says so in the original's words.

Knows what to do when it does not answer. Refuses to know where it comes from: under a service manager that is the one
to ask (``service_manager``).
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hyperion.cli.last_way import warn_of_the_end
from hyperion.cli.output import say
from hyperion.cli.service_manager import managed
from hyperion.errors import NotRunningError, TemporaryError
from hyperion.paths import Program, runtime_directory
from hyperion.proto.operator import Done, StopRequest
from hyperion.running import PID_FILE, Running, demand, find, stale_pid, terminate, wait_until_gone
from hyperion.supervisor.residence import clean_up, remove_empty

#: How the original calls the two.
LABELS: dict[Program, str] = {"server": "hyperion-server", "client": "hyperion"}

#: Seconds that an end may take if the program cannot say so itself: the usual drain and the grace behind it.
PATIENCE = 45.0
#: Seconds after which a person is told what is waited for.
SILENT_SECONDS = 1.0
#: Seconds that a program that root has just started may take to become the user who it runs as.
START_SECONDS = 5.0
#: Seconds between two tries to reach it meanwhile.
RETRY_SECONDS = 0.2
#: Seconds that a request to end may take to be answered.
REQUEST_SECONDS = 5.0


def run_down(program: Program, config_file: Path | None, *, now: bool, dry_run: bool, yes: bool = False) -> int:
    """Returns 0 also if nothing ran: it is down, as was asked for. ``yes``: nobody is asked.

    Raises ``TemporaryError`` if it does not end, and what ``warn_of_the_end`` raises.
    """
    label = LABELS[program]
    unit = managed(program, config_file)
    running = find(program, config_file)
    if program == "server" and running is not None and not dry_run:
        warn_of_the_end(running, yes=yes)
    if unit is not None and unit.is_active():
        return unit.stop(dry_run=dry_run)
    if running is None:
        return _already_down(label, runtime_directory(program, config_file), dry_run=dry_run)
    if dry_run:
        how = "at once" if now else "when its streams have finished"
        say(f"would stop {label} (pid {running.pid}) {how}")
        return 0
    stop(running, label, now=now, explain=_explain)
    say(f"{label} down (stopped pid {running.pid})")
    return 0


def stop(running: Running, label: str, *, now: bool, explain: Callable[..., None] | None = None) -> None:
    """Returns when it has ended. Raises ``TemporaryError`` if it does not.

    ``explain`` is called if that takes a while, to tell a person what is waited for.
    """
    patience = _ask(running, now=now)
    if not wait_until_gone(running.directory, min(SILENT_SECONDS, patience)):
        if explain is not None:
            explain(label, patience, now=now)
        if not wait_until_gone(running.directory, patience):
            raise TemporaryError(
                f"{label} (pid {running.pid}) still runs after {patience:g} s",
                hint=f"cut its streams with: {'hyperion-client' if label == LABELS['client'] else label} down --now",
            )
    remove_empty(running.directory)


def _already_down(label: str, directory: Path, *, dry_run: bool) -> int:
    stale = stale_pid(directory)
    if stale is None or (not dry_run and not clean_up(directory)):
        if not dry_run:
            remove_empty(directory)
        say(f"{label} is not running (no pid file)")
    elif dry_run:
        say(f"would clean up stale pid {stale}: {label} is not running")
    else:
        say(f"{label} was not running (cleaned up stale pid {stale})")
    return 0


def _ask(running: Running, *, now: bool) -> float:
    """Seconds that the end may take. Raises ``TemporaryError`` if there is no way to ask for it."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = demand(running.directory, StopRequest(now=now), REQUEST_SECONDS)
        except (NotRunningError, TemporaryError):
            # It starts, it ends, or it hangs. The lock says whose process id it is.
            if terminate(running.directory, signal.SIGINT if now else signal.SIGTERM):
                return PATIENCE
        else:
            return answer.patience if isinstance(answer, Done) else PATIENCE
        # Root has started it, and it has not become the user yet whose directory this is; or that user holds the lock
        # with something else.
        if wait_until_gone(running.directory, RETRY_SECONDS):
            return PATIENCE
        if time.monotonic() >= deadline:
            file = running.directory / PID_FILE
            raise TemporaryError(
                f"who holds the lock {file} does not answer, and cannot be told for certain: nothing was stopped",
                hint=f"it is just starting, or no Hyperion: fuser -v {file} shows it",
            )


def _explain(label: str, patience: float, *, now: bool) -> None:
    if now:
        return
    with contextlib.suppress(OSError):
        print(
            f"{label}: streams may finish, at most {patience:.0f} s; --now cuts them, Ctrl-C stops waiting",
            file=sys.stderr,
        )
