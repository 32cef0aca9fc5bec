"""``up``, as far as it is the same for both programs: is it up already, who starts it, where does it log.

Knows the order of things. Refuses to know what a server or a client shows when it is up.
"""

import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperion.cli.launch import Launched, LaunchOrder, clean_environment, launch
from hyperion.cli.options import DEFAULTS
from hyperion.cli.output import say
from hyperion.cli.service_manager import Unit, managed
from hyperion.config import Secrets
from hyperion.config.socks import parse_socks
from hyperion.errors import CannotCreateError, UsageError, reason_of
from hyperion.paths import Program, log_file, runtime_directory
from hyperion.running import TITLES, find, is_silent_stranger
from hyperion.supervisor.residence import AlreadyRunningError

LOG_MODE = 0o600
LOG_DIRECTORY_MODE = 0o750


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What both programs' ``up`` take. ``arguments``: those that go to ``run`` as they are."""

    program: Program
    config_file: Path | None
    dry_run: bool = False
    passphrase_fd: int | None = None
    arguments: Sequence[str] = field(default_factory=tuple)
    #: Who is to serve, if somebody was named: it is among the arguments, too.
    user: str | None = None

    @property
    def title(self) -> str:
        """The program's name."""
        return TITLES[self.program]

    @property
    def naming(self) -> str:
        """What the next commands need behind their name to find this program; empty if it runs on the usual file."""
        return "" if self.config_file is None else f" -c {shlex.quote(str(self.config_file))}"


def refuse_if_up(options: UpOptions) -> None:
    """Raises ``AlreadyRunningError`` if one runs with this configuration."""
    running = find(options.program, options.config_file)
    if running is not None:
        stranger = running.directory if is_silent_stranger(running.directory) else None
        raise AlreadyRunningError(options.title, running.pid or 0, stranger)


def responsible_unit(options: UpOptions) -> Unit | None:
    """systemd's unit, if that is the one to start. Raises ``UsageError`` for options that it would not know."""
    unit = managed(options.program, options.config_file)
    if unit is not None and (options.arguments or options.passphrase_fd is not None):
        raise UsageError(
            f"{unit.name} says how {options.title} starts",
            hint=f"put the options there (systemctl edit {unit.name}), or name another configuration with --config",
        )
    return unit


def start_daemon(
    options: UpOptions, path: Path, secrets: Secrets, *, replaces: Path | None = None, at_once: bool = False
) -> tuple[Launched, Path]:
    """The daemon, ready, and its log. Raises the error that it failed with.

    ``replaces``: the directory of one that it ends first, ``at_once`` or when its streams have finished.
    """
    log_path = log_file(options.program)
    fd = open_log(log_path)
    order = LaunchOrder(
        secrets=secrets.export(),
        runtime=str(runtime_directory(options.program, options.config_file)),
        log_path=str(log_path),
        replaces=None if replaces is None else str(replaces),
        at_once=at_once,
    )
    try:
        arguments = ["run", "--config", str(path.absolute()), "--log-format", "json", *options.arguments]
        return launch(options.program, arguments, order, fd, clean_environment()), log_path
    finally:
        os.close(fd)


def who_serves(launched: Launched) -> list[tuple[str, str]]:
    """Lines of a banner, each with its name: whom root became, and what would be better. None if root is not here."""
    if launched.user is None:
        return []
    warning = [] if launched.warning is None else [("warning", launched.warning)]
    return [("user", launched.user), *warning]


def show_plan(options: UpOptions, path: Path) -> int:
    """What ``up`` would do."""
    say(f"would start {options.title} run --config {path.absolute()} {' '.join(options.arguments)}".rstrip())
    say(f"  runtime directory: {runtime_directory(options.program, options.config_file)}")
    say(f"  log: {log_file(options.program)}")
    return 0


def run_arguments(given: Mapping[str, Any], *names: str) -> list[str]:
    """Those of the options called ``names`` that are not as they would be anyway, as arguments for ``run``."""
    arguments: list[str] = []
    for name in names:
        value = given[name]
        if not value or value == DEFAULTS.get(name):
            continue
        text = ",".join(value) if isinstance(value, tuple) else f"{value}"
        arguments += [f"--{name.replace('_', '-')}", text]
    return arguments


def socks_arguments(listeners: Sequence[str], *, gateway_ports: bool) -> list[str]:
    """``-D`` for ``run``. Raises ``UsageError`` for one that it would refuse, while somebody is there to read it."""
    for text in listeners:
        parse_socks(text, gateway_ports=gateway_ports)
    arguments = [part for text in listeners for part in ("--socks", text)]
    return [*arguments, "--gateway-ports"] if listeners and gateway_ports else arguments


def open_log(path: Path) -> int:
    """The log, to append to; made for us alone if it is not there. Raises ``CannotCreateError``."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=LOG_DIRECTORY_MODE, parents=True)
        # No link: whoever may write in that directory must not choose what we write to.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(path, flags, LOG_MODE)
    except OSError as error:
        raise CannotCreateError(f"log {path} cannot be opened: {reason_of(error)}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(fd)
        raise CannotCreateError(f"log {path} is not a plain file of its own", hint="move it away")
    os.set_blocking(fd, True)
    return fd
