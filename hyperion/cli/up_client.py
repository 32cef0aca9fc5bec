"""``hyperion-client up``: a daemon, and all servers while they come up, at once: a dead one delays nobody.

Knows when a server has come to something, and the summary. What a line says is ``view_client``'s business.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hyperion.cli import units
from hyperion.cli.launch import Launched
from hyperion.cli.loading import client_path, load_client_config, terminal_prompt
from hyperion.cli.output import say
from hyperion.cli.start import read_passphrase
from hyperion.cli.status import EXIT_DEGRADED, EXIT_OK, fetch, print_lines
from hyperion.cli.style import is_terminal, terminal_width
from hyperion.cli.transparent_mode import obstacle
from hyperion.cli.up import UpOptions, refuse_if_up, responsible_unit, show_plan, start_daemon, who_serves
from hyperion.cli.view_client import client_lines, client_summary
from hyperion.config import ClientConfig, Secrets
from hyperion.config.keyfile import trust_user
from hyperion.config.selection import only_servers
from hyperion.errors import ConfigError, HyperionError, UsageError
from hyperion.privileges import disable_core_dumps
from hyperion.proto.operator import ClientStatus, TunnelLine

#: Seconds that ``up`` waits for servers to come to something: a time-out of the connect and one of the handshake, and
#: the back-off between two attempts.
SETTLE_SECONDS = 12.0
#: Seconds between two looks.
LOOK_SECONDS = 0.2

#: States in which a server has come to something, for now.
SETTLED = frozenset({"up", "down", "restarting", "failed"})

Look = Callable[[], ClientStatus]


def run_up_client(
    options: UpOptions, only: Sequence[str], *, wait: bool = True, tun: bool = False, hosts: Path | None = None
) -> int:
    """Returns when the client is ready and each server is up or has failed once (not, if not ``wait``).

    ``tun``: transparent mode as well, if nothing stands in its way; what does is told, and the rest runs. ``hosts``:
    the file that gets the servers' names; asked for, they are not left out in silence.

    0 if all are up, 4 if not. Raises what loading raises, or the error that the client failed with.
    """
    disable_core_dumps()
    unit = responsible_unit(options)
    refuse_if_up(options)
    if unit is not None:
        code = unit.start(dry_run=options.dry_run)
        return code if options.dry_run or not wait else show_start(lambda: _look(options))
    path = client_path(options.config_file)
    secrets = Secrets(terminal_prompt())
    if options.passphrase_fd is not None:
        secrets.give(read_passphrase(options.passphrase_fd))
    trust_user(options.user)
    config = only_servers(load_client_config(path, secrets, only), only)
    if not config.servers:
        raise ConfigError(
            f"{path}: there is no server to reach", hint="add one: hyperion-client add-server NAME HOST[:PORT] PUBKEY"
        )
    hindrance = obstacle() if tun else None
    if hosts is not None and (not tun or hindrance is not None):
        raise hindrance or UsageError("--hosts without transparent mode", hint="leave out --no-tun")
    if tun and hindrance is None:
        named = [] if hosts is None else ["--hosts", "--hosts-file", str(hosts.absolute())]
        options = replace(options, arguments=[*options.arguments, "--tun", *named])
    if options.dry_run:
        return show_plan(options, path)
    launched, log_path = start_daemon(options, path, secrets)
    for line in banner(config, launched, log_path, hindrance, options.naming):
        say(line)
    return show_start(lambda: _look(options)) if wait else EXIT_OK


def banner(
    config: ClientConfig,
    launched: Launched,
    log_path: Path,
    hindrance: HyperionError | None = None,
    naming: str = "",
) -> list[str]:
    """What a client that is up says of itself. ``hindrance``: what stands in the way of transparent mode; ``naming``:
    ``UpOptions.naming``."""
    off = [] if hindrance is None else [f"  transparent mode: off ({hindrance})"]
    return [
        f"hyperion up (pid {launched.pid}).",
        f"  servers: {len(config.servers)}, {units.count(len(launched.listen), 'forward')}",
        *off,
        *(f"  {f'{name}:':8} {text}" for name, text in who_serves(launched)),
        f"  log:     {log_path}",
        f"  status:  hyperion-client status{naming}",
        f"  stop:    hyperion-client down{naming}",
    ]


def show_start(look: Look) -> int:
    """All servers as they come up, then the table and one line. 0 if all are up, else 4."""
    if is_terminal():
        # Here, because rich is slow to load, and only a terminal needs it.
        from hyperion.cli.watch import watch_until  # noqa: PLC0415

        status = watch_until(look, lambda status, width: client_lines(status, width=width), is_settled, SETTLE_SECONDS)
        print_lines(client_lines(status, width=terminal_width()))
        say("")
    else:
        status = _tell_each(look)
    say(client_summary(status))
    for example in _examples(status):
        say(example)
    return EXIT_OK if status.servers and all(server.pool_up for server in status.servers) else EXIT_DEGRADED


def _examples(status: ClientStatus) -> list[str]:
    """How to use it, with a server that is there. What a script does not need is told on a terminal only."""
    up = [server for server in status.servers if server.pool_up]
    if not up:
        return []
    name, lines = up[0].name, []
    if _has_device(status) and up[0].fake_ip:
        lines.append(f"reach a server by its fake ip: ssh user@{up[0].fake_ip}")
    elif is_terminal():
        lines.append(f"reach a server: hyperion-client ssh-config --write, then ssh {name}")
    if status.socks and is_terminal():
        lines.append(f"through SOCKS: curl --proxy socks5h://{status.socks[0]} http://{name}:PORT/")
    return lines


def is_settled(status: ClientStatus) -> bool:
    """Whether each server has come to something. (A client that ended meanwhile has, too.)"""
    return status.state == "down" or (
        status.state != "starting" and all(_came_to_something(server) for server in status.servers)
    )


def _came_to_something(server: TunnelLine) -> bool:
    return server.state in SETTLED or server.pool_up > 0


def _tell_each(look: Look) -> ClientStatus:
    """One line for each server, once, when it has come to something."""
    deadline = time.monotonic() + SETTLE_SECONDS
    told: set[str] = set()
    while True:
        status = look()
        for server in status.servers:
            if server.name not in told and _came_to_something(server):
                told.add(server.name)
                say(_line(server, address=_has_device(status)))
        if is_settled(status) or time.monotonic() >= deadline:
            return status
        time.sleep(LOOK_SECONDS)


def _has_device(status: ClientStatus) -> bool:
    return status.transparent is not None and status.transparent.state == "up"


def _line(server: TunnelLine, *, address: bool) -> str:
    """``address``: whether its fake address leads to it."""
    if server.pool_up:
        where = f" at {server.fake_ip}" if address and server.fake_ip else ""
        return f"{server.name}: up{where} ({units.milliseconds(server.round_trip_ms)})"
    return f"{server.name}: {server.state}, {server.message or server.reason or 'no reason given'}"


def _look(options: UpOptions) -> ClientStatus:
    status = fetch("client", options.config_file)
    assert isinstance(status, ClientStatus)
    return status
