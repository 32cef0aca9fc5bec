"""What the end of a server means for whoever orders it over the network: said before, not found out after.

A gate's rules outlive the server, so while none runs nobody gets in; and a login that came through the tunnel is cut
with it. Knows the words. Refuses to know how a server is stopped.
"""

import os
import sys

import click

from hyperion.errors import HyperionError, RefusedError, UsageError
from hyperion.proto.operator import ServerAnswer, StatusRequest
from hyperion.running import Running, demand
from hyperion.trial.connections import Connection
from hyperion.trial.login import login_connection

#: Seconds that a server has to say whether it has a gate. One that hangs is stopped without a warning.
ANSWER_SECONDS = 2.0

THROUGH_THE_TUNNEL = (
    "this login comes through the tunnel that you are about to stop: it will be cut, and nobody gets in again"
    " before somebody starts the server from elsewhere. To start it anew: hyperion-server restart"
)
RULES_STAY = (
    "the gate's rules stay in force: until a server runs again nobody new gets in, but at ports that they keep open"
)


def warn_of_the_end(running: Running, *, yes: bool) -> None:
    """Says what will be missed, and asks if the caller's own way in is cut.

    Raises ``RefusedError`` after a no, ``UsageError`` where nobody is there to be asked. ``yes``: do not ask.
    """
    if not _has_gate(running):
        return
    if not comes_through_the_tunnel(login_connection(os.getpid())):
        click.echo(f"note: {RULES_STAY}", err=True)
        return
    click.echo(f"warning: {THROUGH_THE_TUNNEL}", err=True)
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="say --yes, or use: hyperion-server restart")
    if not click.confirm("Stop it?", err=True):
        raise RefusedError("nothing was stopped")


def comes_through_the_tunnel(login: Connection | None) -> bool:
    """Workers connect to services from this host itself, so a login from here came through one (or never left it)."""
    return login is not None and login.stays_inside


def _has_gate(running: Running) -> bool:
    """Whether its rules are in force, as far as it can be told."""
    try:
        answer = demand(running.directory, StatusRequest(), ANSWER_SECONDS)
    except HyperionError:
        return False
    return isinstance(answer, ServerAnswer) and answer.status.gate is not None and answer.status.gate.state == "ok"
