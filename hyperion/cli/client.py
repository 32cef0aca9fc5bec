"""``hyperion-client``: its commands and options."""

import sys
from pathlib import Path
from typing import Any

import click

from hyperion.cli import complete, options, shared_commands
from hyperion.cli.border import Action, run_program
from hyperion.cli.client_files import add_server, init, ls, rm_server, ssh_config
from hyperion.cli.routes_commands import print_routes, tun

PROGRAM = "hyperion-client"

#: How long ``doctor`` waits for one server unless told otherwise, seconds (as the original).
DOCTOR_TIMEOUT = 10.0
MAX_DOCTOR_TIMEOUT = 600.0


def main() -> None:
    """Entry point."""
    sys.exit(run_program(PROGRAM, program))


@click.group(context_settings=options.CONTEXT)
@options.version
@options.debug
def program() -> None:
    """Reaches ports of servers that know this admin, through encrypted tunnels."""


@program.command(short_help="Forward local ports in the foreground.")
@options.config("hyperion.toml")
@click.option(
    "-L",
    "--forward",
    "forwards",
    metavar="[LPORT:]SERVER:RPORT",
    multiple=True,
    help="Also forward 127.0.0.1:LPORT (default: any free port) to RPORT of SERVER. Repeatable.",
)
@options.tun
@options.hosts
@options.client_user
@options.socks
@options.drain_timeout
@options.log
@options.only
@options.passphrase_fd
@options.launch_fd
@options.debug
def run(
    config_file: Path | None,
    forwards: tuple[str, ...],
    tun: bool,
    hosts: bool,
    hosts_file: Path,
    user: str | None,
    socks: tuple[str, ...],
    gateway_ports: bool,
    drain_timeout: float,
    log_format: str,
    log_level: str,
    only: tuple[str, ...],
    passphrase_fd: int | None,
    launch_fd: int | None,
    alone: bool = False,
) -> Action:
    """Forward local ports in the foreground until SIGTERM (drains) or SIGINT (stops); SIGHUP reloads."""

    def action() -> int:
        # Here, because the supervisor and all it needs are slow to load, and --help does not need them.
        from hyperion.cli.launch import restart_without_secrets  # noqa: PLC0415
        from hyperion.cli.run_client import run_client  # noqa: PLC0415
        from hyperion.cli.start import Start  # noqa: PLC0415

        return run_client(
            config_file,
            forwards,
            socks,
            tun=tun,
            hosts=hosts_file if hosts else None,
            user=user,
            gateway_ports=gateway_ports,
            drain_timeout=drain_timeout,
            log_format=log_format,
            log_level=log_level,
            only=only,
            start=Start("client", config_file, launch_fd=launch_fd, passphrase_fd=passphrase_fd, alone=alone),
            restart=restart_without_secrets,
        )

    return action


@program.command(short_help="Try servers step by step, and say what is wrong.")
@options.config("hyperion.toml")
@click.argument("names", metavar="[SERVER]...", nargs=-1, type=complete.ServerName())
@options.json("hyperion.doctor/1")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=options.Seconds(0, MAX_DOCTOR_TIMEOUT, min_open=True),
    default=DOCTOR_TIMEOUT,
    show_default=True,
    help="How long to wait for each server.",
)
@options.debug
def doctor(config_file: Path | None, names: tuple[str, ...], as_json: bool, timeout: float) -> Action:
    """Check every SERVER (default: all): connect, handshake, one round trip. Exit code 1 if any fails."""

    def action() -> int:
        # Here, because the tunnel and all it needs are slow to load, and --help does not need them.
        from hyperion.cli.doctor import run_doctor  # noqa: PLC0415
        from hyperion.worker.probe import probe  # noqa: PLC0415

        return run_doctor(config_file, names, as_json=as_json, timeout=timeout, probe=probe)

    return action


@program.command(short_help="Connect standard input and output to a port of a server.")
@options.config("hyperion.toml")
@click.argument("server", metavar="SERVER", type=complete.ServerName())
@click.argument("port", metavar="PORT", type=click.IntRange(1, 65_535))
@click.option(
    "-F", "--fdpass", is_flag=True, help="Hand the connection over to ssh, and leave: with its ProxyUseFdpass yes."
)
@options.debug
def nc(config_file: Path | None, server: str, port: int, fdpass: bool) -> Action:
    """Connect standard input and output to PORT of SERVER, as ssh wants it: ProxyCommand hyperion-client nc %h %p.

    Through the client that runs, else with a tunnel of its own. SERVER may be given in any case, with .hyperion
    appended, or as an address of it.
    """

    def action() -> int:
        # Here, because the tunnel and all it needs are slow to load, and --help does not need them.
        from hyperion.cli.nc import run_nc  # noqa: PLC0415

        return run_nc(config_file, server, port, fdpass=fdpass)

    return action


@program.command(short_help="Connect to all servers in the background.")
@options.config("hyperion.toml")
@options.only
@options.foreground
@click.option("--no-tun", is_flag=True, help="No transparent mode, although it would be possible.")
@options.socks
@options.hosts
@options.client_user
@click.option("--no-wait", is_flag=True, help="Return when the client is ready, whatever the servers do.")
@options.drain_timeout
@options.log
@options.passphrase_fd
@options.launch_fd
@options.dry_act
@options.debug
@click.pass_context
def up(context: click.Context, /, foreground: bool, no_tun: bool, no_wait: bool, dry_run: bool, **given: Any) -> Action:
    """Connect to all servers in the background; shows how that goes. Exit code 4: not all are up."""
    if foreground:
        # Here, because --help does not need it.
        from hyperion.cli.transparent_mode import obstacle  # noqa: PLC0415

        tun = not no_tun and obstacle() is None
        wanted: Action = context.invoke(run, **given, forwards=(), tun=tun, alone=True)
        return wanted

    def action() -> int:
        # Here, because the configuration is slow to load, and --help does not need it.
        from hyperion.cli.up import UpOptions, run_arguments, socks_arguments  # noqa: PLC0415
        from hyperion.cli.up_client import run_up_client  # noqa: PLC0415

        arguments = run_arguments(given, "only", "user", "drain_timeout", "log_level")
        arguments += socks_arguments(given["socks"], gateway_ports=given["gateway_ports"])
        options = UpOptions(
            program="client",
            config_file=given["config_file"],
            dry_run=dry_run,
            passphrase_fd=given["passphrase_fd"],
            arguments=arguments,
            user=given["user"],
        )
        hosts = given["hosts_file"] if given["hosts"] else None
        return run_up_client(options, given["only"], wait=not no_wait, tun=not no_tun, hosts=hosts)

    return action


for command in (
    init,
    add_server,
    rm_server,
    ls,
    ssh_config,
    tun,
    print_routes,
    shared_commands.completion(program, PROGRAM),
    shared_commands.keygen("an admin"),
    shared_commands.status("client", "each SERVER (default: all), worst first"),
    shared_commands.down("client"),
    shared_commands.reload("client"),
):
    program.add_command(command)
