"""``hyperion-server restart``: the end of the one that runs and the start of another, also through its own tunnel.

Whoever restarts a server through its tunnel cuts the login that the command was typed in. So the new one, a daemon in a
session of its own, ends the old one itself, as its last step before it serves: what can be found wrong is found while
the old one is there, and nothing depends on whoever typed the command. Knows the order, and what is said.
"""

import os

import click

from hyperion.cli.last_way import comes_through_the_tunnel
from hyperion.cli.output import say
from hyperion.cli.up import UpOptions, responsible_unit, show_plan, start_daemon
from hyperion.cli.up_server import read_all, show_up
from hyperion.privileges import disable_core_dumps
from hyperion.running import Running, find
from hyperion.trial.login import login_connection


def run_restart_server(options: UpOptions, *, now: bool) -> int:
    """Returns as ``up``: 0, or 4 if the gate is shut. Where none runs, it starts one.

    ``now``: streams are cut. Raises what loading raises (then nothing was stopped), or the error that the new one
    failed with.
    """
    disable_core_dumps()
    unit = responsible_unit(options)
    if unit is not None:
        return unit.restart(dry_run=options.dry_run)
    path, secrets, config = read_all(options)
    running = find("server", options.config_file)
    if options.dry_run:
        say("hyperion-server is not running" if running is None else f"would stop hyperion-server (pid {running.pid})")
        return show_plan(options, path)
    _announce(running, now=now)
    old = None if running is None else running.directory
    launched, log_path = start_daemon(options, path, secrets, replaces=old, at_once=now)
    return show_up(options, config, launched, log_path)


def _announce(running: Running | None, *, now: bool) -> None:
    if running is None:
        say("hyperion-server was not running")
        return
    how = "" if now else "; its streams may finish, for as long as its --drain-timeout says"
    say(f"stopping pid {running.pid}{how}")
    if comes_through_the_tunnel(login_connection(os.getpid())):
        click.echo("note: this login is cut with them; the start goes on without it: connect again", err=True)
