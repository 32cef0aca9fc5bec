"""``nc`` in a hurry: through a running client, without configuration, command line library or event loop.

Takes only the plain form of the command line. Everything else (help, a mistake, a client that does not run, a server
that it does not know) is left to ``hyperion.cli.nc``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hyperion.cli.call import converse, pass_on, place_call
from hyperion.cli.stdio import open_missing, tell
from hyperion.errors import EXIT_INTERRUPTED, HyperionError
from hyperion.paths import runtime_directory, system_runtime_directory
from hyperion.rendezvous import AVAILABLE, Meeting, matching, meetings

#: The highest port, and how long its number is, digits.
LAST_PORT = 65_535
PORT_DIGITS = 5


class Wanted(NamedTuple):
    """A plain command line."""

    server: str
    port: int
    config_file: Path | None = None
    fdpass: bool = False


def attempt(program: str, arguments: Sequence[str]) -> int | None:
    """The exit code; ``None`` if somebody else must do it. Nothing was read or written then."""
    wanted = parse(arguments)
    if wanted is None or not AVAILABLE:
        return None
    open_missing()
    try:
        return through_running(running(wanted.config_file), wanted.server, wanted.port, fdpass=wanted.fdpass)
    except HyperionError as error:
        hint = "" if error.hint is None else f"hint: {error.hint}\n"
        tell(f"{program}: error: {error.message}\n{hint}")
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def parse(arguments: Sequence[str]) -> Wanted | None:
    """``[-F] [-c FILE] SERVER PORT``, and nothing else."""
    rest = list(arguments)
    config_file = None
    fdpass = rest[:1] in (["-F"], ["--fdpass"])
    if fdpass:
        del rest[0]
    if len(rest) == 4 and rest[0] in {"-c", "--config"}:
        config_file = Path(rest[1])
        del rest[:2]
    if len(rest) != 2 or any(word.startswith("-") for word in rest):
        return None
    server, port = rest
    if not (port.isascii() and port.isdecimal() and len(port) <= PORT_DIGITS and 1 <= int(port) <= LAST_PORT):
        return None
    return Wanted(server, int(port), config_file, fdpass)


def running(config_file: Path | None) -> list[Meeting]:
    """All servers of all clients that run with this configuration, ours before root's."""
    places = (runtime_directory("client", config_file), system_runtime_directory("client", config_file))
    return meetings(dict.fromkeys(str(place) for place in places))


def through_running(found: Sequence[Meeting], server: str, port: int, *, fdpass: bool = False) -> int | None:
    """Through the first of ``found`` that is meant and there. ``fdpass``: the stream is handed on, not moved.

    Raises what ``converse`` and ``pass_on`` raise.
    """
    for meeting in matching(server, found):
        try:
            control, stream = place_call(meeting, port)
        except OSError:  # it was killed, or has just ended
            continue
        return (pass_on if fdpass else converse)(control, stream, meeting.name, port)
    return None
