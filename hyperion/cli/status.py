"""``status`` of both programs: asks the one that runs, and shows what it says.

Knows where the document comes from, in which form it goes out, and the exit code. What the lines say is the business of
``view_server`` and ``view_client``. Everything here is quick to load: no event loop, no configuration, no rich.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from hyperion.cli.options import DEFAULT_INTERVAL
from hyperion.cli.output import say
from hyperion.cli.style import Line, is_terminal, paint, piece, terminal_width, wants_color
from hyperion.errors import NotRunningError, TemporaryError, UsageError
from hyperion.paths import Program
from hyperion.proto.operator import ClientAnswer, ClientStatus, ServerAnswer, ServerStatus, StatusRequest
from hyperion.running import demand, find

Status = ServerStatus | ClientStatus

EXIT_OK = 0
#: LSB's code of ``status`` for a program that is not running.
EXIT_NOT_RUNNING = 3
EXIT_DEGRADED = 4

#: Seconds that a status may take; a quarter of one is usual. Who asks after a program that hangs shall learn it soon.
ANSWER_SECONDS = 5.0

#: Looks at a program that is there but does not answer yet, and seconds between them: it may be just starting.
START_LOOKS = 10
START_SECONDS = 0.1


def run_status(
    program: Program,
    config_file: Path | None,
    *,
    as_json: bool = False,
    as_lines: bool = False,
    watch: bool = False,
    interval: float = DEFAULT_INTERVAL,
    verbose: bool = False,
    names: Sequence[str] = (),
) -> int:
    """Once, or until Ctrl-C; the exit code: 0 all is up, 3 not running, 4 degraded.

    ``as_lines``: with ``watch``, one JSON document a line. ``names``: of a client's servers, just these. Raises
    ``RefusedError`` if it may not ask, ``UsageError`` if there is no such server.
    """

    def look() -> Status:
        return selected(fetch(program, config_file), names)

    if watch and not as_json and not as_lines and is_terminal():
        # Here, because rich is slow to load, and only this needs it.
        from hyperion.cli.watch import watch_terminal  # noqa: PLC0415

        return watch_terminal(look, lambda status, width: lines_of(status, width, verbose=verbose), interval)
    if watch:
        return _watch_lines(look, interval, as_json=as_json or as_lines)
    status, advice = look(), None
    if status.state == "down":
        # Here, because the configuration is slow to load, and one that runs needs not be asked for its own.
        from hyperion.cli.status_down import down  # noqa: PLC0415

        status, advice = down(program, config_file)
    if as_json or as_lines:
        say(msgspec.json.encode(status).decode())
    else:
        lines = lines_of(status, terminal_width(), verbose=verbose)
        print_lines(lines if advice is None else [*lines, [piece(advice)]])
    return exit_code(status)


def fetch(program: Program, config_file: Path | None) -> Status:
    """What the program says of itself; a document with the state ``down`` if there is none."""
    empty: type[Status] = ServerStatus if program == "server" else ClientStatus
    pid = None
    for _ in range(START_LOOKS):
        running = find(program, config_file)
        if running is None:
            return empty()
        pid = running.pid
        try:
            answer = demand(running.directory, StatusRequest(), ANSWER_SECONDS)
        except NotRunningError:  # it holds its lock, but does not listen yet, or not any more
            time.sleep(START_SECONDS)
            continue
        if isinstance(answer, ServerAnswer | ClientAnswer):
            return answer.status
        raise TemporaryError("its answer makes no sense", hint="it was started by another version: restart it")
    return empty(state="starting", pid=pid, reason="it does not answer yet")


def selected(status: Status, names: Sequence[str]) -> Status:
    """The same of these servers only, as if the client had no others. Raises ``UsageError``."""
    if not names or status.state == "down" or isinstance(status, ServerStatus):
        return status
    known = [server.name for server in status.servers]
    for name in names:
        if name not in known:
            raise UsageError(f"the running client has no server {name}", hint=f"it has {', '.join(sorted(known))}")
    lines = [server for server in status.servers if server.name in names]
    whole = all(server.state == "up" for server in lines)
    return msgspec.structs.replace(
        status,
        state=("up" if whole else "degraded") if status.state in ("up", "degraded") else status.state,
        servers=lines,
        servers_up=sum(server.pool_up > 0 for server in lines),
        servers_total=len(lines),
    )


def exit_code(status: Status) -> int:
    """What a script is told."""
    if status.state == "down":
        return EXIT_NOT_RUNNING
    return EXIT_OK if status.state == "up" else EXIT_DEGRADED


def lines_of(status: Status, width: int | None, *, verbose: bool) -> list[Line]:
    """All that people are shown."""
    # Here, because a program has one of the two, and --json none.
    if isinstance(status, ServerStatus):
        from hyperion.cli.view_server import server_lines  # noqa: PLC0415

        return server_lines(status, width=width, verbose=verbose)
    from hyperion.cli.view_client import client_lines  # noqa: PLC0415

    return client_lines(status, width=width, verbose=verbose)


def print_lines(lines: list[Line]) -> None:
    """In colour where that is wanted."""
    color = wants_color()
    for line in lines:
        say(paint(line, color=color))


def summary(status: Status) -> str:
    """One line."""
    if isinstance(status, ServerStatus):
        from hyperion.cli.view_server import server_summary  # noqa: PLC0415

        return server_summary(status)
    from hyperion.cli.view_client import client_summary  # noqa: PLC0415

    return client_summary(status)


def _watch_lines(look: Callable[[], Status], interval: float, *, as_json: bool) -> int:
    """Where nobody watches a screen: one line each time, for ever."""
    while True:
        status = look()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        say(msgspec.json.encode(status).decode() if as_json else f"{stamp} {summary(status)}")
        sys.stdout.flush()
        time.sleep(interval)
