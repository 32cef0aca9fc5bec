"""``hyperion-server restart``: the end of the one that runs and the start of another, also through its own tunnel.

Whoever restarts a server through its tunnel cuts the login that the command was typed in. So the new one, a daemon in a
session of its own, ends the old one itself, as its last step before it serves: what can be found wrong is found while
the old one is there, and nothing depends on whoever typed the command. Knows the order, and what is said.

systemd ends the old one before it starts the new one. So there, too, we look first at what can be known without the
secrets of its unit.
"""

import os
from pathlib import Path

import click
import msgspec

from hyperion.cli.last_way import comes_through_the_tunnel
from hyperion.cli.output import say
from hyperion.cli.up import UpOptions, responsible_unit, show_plan, start_daemon
from hyperion.cli.up_server import read_all, show_up
from hyperion.config import Endpoint, Secrets
from hyperion.config.reading import read_server
from hyperion.config.schema import KeySection
from hyperion.config.server import resolve_server
from hyperion.errors import HyperionError
from hyperion.paths import system_config
from hyperion.privileges import disable_core_dumps
from hyperion.proto.operator import ServerAnswer, StatusRequest
from hyperion.running import Running, demand, find
from hyperion.supervisor.sockets import require_free
from hyperion.trial.login import login_connection

#: Seconds that the old one has to say where it listens.
ANSWER_SECONDS = 2.0

#: In place of a PSK that only the unit's environment leads to.
_ANY_PSK = KeySection(source="value", value="AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=")


def run_restart_server(options: UpOptions, *, now: bool) -> int:
    """Returns as ``up``: 0, or 4 if the gate is shut. Where none runs, it starts one.

    ``now``: streams are cut. Raises what loading raises (then nothing was stopped), or the error that the new one
    failed with.
    """
    disable_core_dumps()
    unit = responsible_unit(options)
    running = find("server", options.config_file)
    if unit is not None:
        if running is not None:
            _refuse_what_the_unit_would(system_config("server"), running)
        return unit.restart(dry_run=options.dry_run)
    # Whoever comes through the tunnel would be locked out by a passphrase with a slip in it.
    path, secrets, config = read_all(options, twice=running is not None)
    if running is not None:
        require_free(config.listen, _port_of(running, config.listen))
    if options.dry_run:
        say("hyperion-server is not running" if running is None else f"would stop hyperion-server (pid {running.pid})")
        return show_plan(options, path)
    _announce(running, now=now)
    old = None if running is None else running.directory
    try:
        launched, log_path = start_daemon(options, path, secrets, replaces=old, at_once=now)
    except KeyboardInterrupt:
        if old is not None:
            click.echo("note: the restart goes on by itself: hyperion-server status shows how", err=True)
        raise
    return show_up(options, config, launched, log_path)


def _refuse_what_the_unit_would(path: Path, running: Running) -> None:
    """Raises what loading raises, but for secrets that only the unit has."""
    if not path.exists():  # a drop-in names another one
        return
    raw = read_server(path)
    if raw.key.source in {"passphrase", "env"}:
        raw = msgspec.structs.replace(raw, key=_ANY_PSK)
    config = resolve_server(path, raw, Secrets(None, {}))
    require_free(config.listen, _port_of(running, config.listen))


def _port_of(running: Running, wanted: Endpoint) -> int:
    """The port that it listens on, and that its successor takes over; the one wanted, if it does not say."""
    try:
        answer = demand(running.directory, StatusRequest(), ANSWER_SECONDS)
    except HyperionError:
        return wanted.port
    port = (answer.status.listen or "").rpartition(":")[2] if isinstance(answer, ServerAnswer) else ""
    return int(port) if port.isdigit() else wanted.port


def _announce(running: Running | None, *, now: bool) -> None:
    if running is None:
        say("hyperion-server was not running")
        return
    how = "" if now else "; its streams may finish, for as long as its --drain-timeout says"
    say(f"stopping pid {running.pid}{how}")
    if comes_through_the_tunnel(login_connection(os.getpid())):
        click.echo("note: this login is cut with them; the start goes on without it: connect again", err=True)
