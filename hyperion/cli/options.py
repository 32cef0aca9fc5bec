"""Options that several commands share."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from hyperion import __version__
from hyperion.cli.border import Caller
from hyperion.cli.complete import ServerNames
from hyperion.paths import HOSTS_FILE, SERVER_CONFIG_NAME, SYSTEM_CLIENT_CONFIG, SYSTEM_CONFIG

Command = TypeVar("Command", bound=Callable[..., Any])

#: ``-h`` beside ``--help``, everywhere.
CONTEXT = {"help_option_names": ["-h", "--help"]}

#: Seconds between two looks of ``status --watch``: unless told otherwise, at least, at most.
DEFAULT_INTERVAL = 1.0
MIN_INTERVAL = 0.1
MAX_INTERVAL = 3_600.0

LOG_FORMATS = ("auto", "json", "console")
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical")


class Seconds(click.FloatRange):
    """A duration. ``nan`` would slip through every comparison, and ``inf`` would never end."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As a range, but finite."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return number


def _remember_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    caller = context.find_object(Caller)
    if value and caller is not None:
        caller.debug = True


#: Taken before and after the command's name. Eager, so that it also holds for errors of the options beside it.
debug = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show a traceback if something fails.",
)

version = click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")


def config(default_name: str) -> Callable[[Command], Command]:
    """``--config``, whose default is ``default_name`` in the configuration directory (found when the command runs)."""
    system = SYSTEM_CONFIG if default_name == SERVER_CONFIG_NAME else SYSTEM_CLIENT_CONFIG
    return click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"Configuration. [default: {default_name} in $HYPERION_HOME, else in ~/.config/hyperion; for root also "
        f"that of who called sudo, else in {system}]",
    )


def log(command: Command) -> Command:
    """``--log-format`` and ``--log-level``."""
    level = click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS),
        default="info",
        show_default=True,
        help="The least severe events that are logged.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(LOG_FORMATS),
        default="auto",
        show_default=True,
        help="auto is console on a terminal, else json.",
    )
    return form(level(command))


def user(default: str) -> Callable[[Command], Command]:
    """``--user``: who serves if root starts it."""
    return click.option(
        "--user",
        metavar="NAME",
        help=f"Who serves if root starts this. [default: {default}, else the configuration's owner, else a uid without "
        "a name]",
    )


#: ``--user`` of the client.
client_user = click.option(
    "--user",
    metavar="NAME",
    help="Who runs it if root starts this. [default: the configuration's owner; if that is root: hyperion-client, else "
    "a uid without a name]",
)

#: ``--drain-timeout``, for both programs.
drain_timeout = click.option(
    "--drain-timeout",
    metavar="SECONDS",
    type=Seconds(min=0),
    default=30.0,
    show_default=True,
    help="How long streams may finish after SIGTERM.",
)


def json(what: str) -> Callable[[Command], Command]:
    """``--json``: one document of the schema ``what``."""
    return click.option("--json", "as_json", is_flag=True, help=f"One JSON document of schema {what}.")


#: ``--dry-run``, for everything that writes.
dry_run = click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")

#: ``--dry-run``, for what does something else than writing.
dry_act = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")


def status(command: Command) -> Command:
    """What ``status`` of both programs takes."""
    for option in (
        click.option(
            "-v", "--verbose", is_flag=True, help="Also each session, forward, and what peers say of themselves."
        ),
        click.option(
            "--interval",
            metavar="SECONDS",
            type=Seconds(MIN_INTERVAL, MAX_INTERVAL),
            default=DEFAULT_INTERVAL,
            show_default=True,
            help="With --watch: from one look to the next.",
        ),
        click.option("--jsonl", "as_lines", is_flag=True, help="With --watch: one JSON document a line."),
        click.option("--watch", is_flag=True, help="Stay, and show what changes, until Ctrl-C."),
        json("hyperion.status/1"),
    ):
        command = option(command)
    return command


def socks(command: Command) -> Command:
    """``-D`` and ``-g``, as ssh has them."""
    listen = click.option(
        "-D",
        "--socks",
        "socks",
        metavar="[ADDR:]PORT",
        multiple=True,
        help="Also serve SOCKS 5 there (default: 127.0.0.1); the host names are the servers' names. Repeatable.",
    )
    gateway = click.option("-g", "--gateway-ports", is_flag=True, help="Let -D listen where other hosts reach it.")
    return listen(gateway(command))


#: The descriptor that ``up`` hands to its daemon. Nobody types it.
launch_fd = click.option("--launch-fd", type=click.IntRange(3), hidden=True)

passphrase_fd = click.option(
    "--passphrase-fd",
    metavar="N",
    type=click.IntRange(0),
    help="Read the passphrase from this open descriptor, one line.",
)

foreground = click.option("--foreground", is_flag=True, help="Stay in this terminal, and log to it.")

yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")

now = click.option("--now", is_flag=True, help="Cut what runs instead of letting it finish.")


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(name for name in value.split(",") if name)


only = click.option(
    "--only",
    metavar="NAME,...",
    type=ServerNames(),
    callback=_names,
    help="Just these servers. [default: all]",
)

#: Defaults of options that ``up`` passes on only if they were asked for.
DEFAULTS: Mapping[str, object] = {"drain_timeout": 30.0, "log_level": "info"}


def hosts(command: Command) -> Command:
    """``--hosts``, and which file the names go to."""
    file = click.option(
        "--hosts-file",
        type=click.Path(path_type=Path),
        default=HOSTS_FILE,
        metavar="FILE",
        help="Where --hosts writes. [default: /etc/hosts]",
    )
    names = click.option(
        "--hosts", is_flag=True, help="In transparent mode, keep the servers' names (web1.hyperion) in /etc/hosts."
    )
    return names(file(command))


tun = click.option(
    "--tun", is_flag=True, help="Transparent mode: an address for each server; needs root or CAP_NET_ADMIN."
)
