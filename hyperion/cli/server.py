"""``hyperion-server``: its commands and options."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hyperion.cli import options, shared_commands
from hyperion.cli.border import Action, run_program
from hyperion.cli.gate_options import GateFlags, gate_options, name_options
from hyperion.cli.server_files import add_admin, admins, init, rm_admin

if TYPE_CHECKING:
    from hyperion.cli.up import UpOptions

PROGRAM = "hyperion-server"

#: More workers than this help no machine, and each costs memory.
MAX_WORKERS = 256

#: How long ``apply-firewall`` waits for its proof unless told otherwise, seconds: to walk to another machine, log in
#: and type a line.
CONFIRM_SECONDS = 90.0
#: As long as a server's guard can be held off. Longer is no trial any more.
MAX_CONFIRM_SECONDS = 600.0


workers_option = click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, MAX_WORKERS),
    help="Worker processes. [default: one for each processor]",
)


def main() -> None:
    """Entry point."""
    sys.exit(run_program(PROGRAM, program))


@click.group(context_settings=options.CONTEXT)
@options.version
@options.debug
def program() -> None:
    """Serves ports of this machine to the admins it knows, through an encrypted tunnel."""


@program.command(short_help="Serve in the foreground, until SIGTERM or SIGINT.")
@options.config("server.toml")
@workers_option
@options.user("hyperion")
@options.drain_timeout
@options.log
@options.passphrase_fd
@options.launch_fd
@options.debug
def run(
    config_file: Path | None,
    workers: int | None,
    user: str | None,
    drain_timeout: float,
    log_format: str,
    log_level: str,
    passphrase_fd: int | None,
    launch_fd: int | None,
    alone: bool = False,
) -> Action:
    """Serve in the foreground until SIGTERM (drains) or SIGINT (stops); SIGHUP reloads."""

    def action() -> int:
        # Here, because the supervisor and all it needs are slow to load, and --help does not need them.
        from hyperion.cli.launch import restart_without_secrets  # noqa: PLC0415
        from hyperion.cli.run_server import run_server  # noqa: PLC0415
        from hyperion.cli.start import Start  # noqa: PLC0415

        return run_server(
            config_file,
            workers=workers or count_processors(),
            user=user,
            drain_timeout=drain_timeout,
            log_format=log_format,
            log_level=log_level,
            start=Start("server", config_file, launch_fd=launch_fd, passphrase_fd=passphrase_fd, alone=alone),
            restart=restart_without_secrets,
        )

    return action


@program.command("print-firewall", short_help="Print the gate's ruleset, for nft.")
@gate_options
@click.option("--check", is_flag=True, help="Ask nft first whether it would take it (needs root).")
@options.json("hyperion.print-firewall/1")
@options.debug
def print_firewall(check: bool, as_json: bool, **flags: Any) -> Action:
    """Print the gate's ruleset, for: hyperion-server print-firewall --tunnel-port 8443 | sudo nft -f -"""

    def action() -> int:
        # Here, because --help does not need it.
        from hyperion.cli.print_firewall import run_print_firewall  # noqa: PLC0415

        return run_print_firewall(GateFlags(**flags), check=check, as_json=as_json)

    return action


@program.command("apply-firewall", short_help="Load the gate's ruleset on trial, with a way back.")
@gate_options
@click.option(
    "--confirm-within",
    "seconds",
    metavar="SECONDS",
    type=options.Seconds(1, MAX_CONFIRM_SECONDS),
    default=CONFIRM_SECONDS,
    show_default=True,
    help="Put everything back unless somebody gets in by then.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print what would be loaded, and load nothing.")
@options.json("hyperion.apply-firewall/1")
@options.debug
def apply_firewall(seconds: float, yes: bool, dry_run: bool, as_json: bool, **flags: Any) -> Action:
    """Load the gate's ruleset, and keep it only if somebody gets in through it; else put back what was there.

    Proof is a knock and a handshake that arrive through the new rules, or confirm-firewall from a new login. Exit code
    75: rolled back.
    """

    def action() -> int:
        # Here, because --help does not need it.
        from hyperion.cli.apply_firewall import run_apply_firewall  # noqa: PLC0415

        return run_apply_firewall(GateFlags(**flags), seconds=seconds, yes=yes, dry_run=dry_run, as_json=as_json)

    return action


@program.command("confirm-firewall", short_help="From a new login: keep the ruleset that is on trial.")
@options.debug
def confirm_firewall() -> Action:
    """Keep the ruleset that apply-firewall tries: run it in a login that is newer than the ruleset."""

    def action() -> int:
        # Here, because --help does not need it.
        from hyperion.cli.confirm_firewall import run_confirm_firewall  # noqa: PLC0415

        return run_confirm_firewall()

    return action


@program.command("remove-firewall", short_help="Take the gate's table away, and no other.")
@name_options
@options.dry_act
@options.json("hyperion.remove-firewall/1")
@options.debug
def remove_firewall(dry_run: bool, as_json: bool, **flags: Any) -> Action:
    """Take the gate's table away, and no other. A running server then takes no new connection."""

    def action() -> int:
        # Here, because --help does not need it.
        from hyperion.cli.remove_firewall import run_remove_firewall  # noqa: PLC0415

        return run_remove_firewall(GateFlags(**flags), dry_run=dry_run, as_json=as_json)

    return action


def count_processors() -> int:
    """Those this process may run on, where the system says so: a container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)


@program.command(short_help="Start serving in the background.")
@options.config("server.toml")
@workers_option
@options.user("hyperion")
@options.foreground
@options.drain_timeout
@options.log
@options.passphrase_fd
@options.launch_fd
@options.dry_act
@options.debug
@click.pass_context
def up(context: click.Context, /, foreground: bool, dry_run: bool, **given: Any) -> Action:
    """Start serving in the background; returns when it is ready, or with the reason why not."""
    if foreground:
        wanted: Action = context.invoke(run, **given, alone=True)
        return wanted

    def action() -> int:
        # Here, because the configuration is slow to load, and --help does not need it.
        from hyperion.cli.up_server import run_up_server  # noqa: PLC0415

        return run_up_server(_up_options(given, dry_run=dry_run))

    return action


@program.command(short_help="Stop it and start it again, also through its own tunnel.")
@options.config("server.toml")
@workers_option
@options.user("hyperion")
@options.drain_timeout
@options.log
@options.passphrase_fd
@options.now
@options.dry_act
@options.debug
def restart(now: bool, dry_run: bool, **given: Any) -> Action:
    """Stop it, as down does, and start it again, as up does, even if that cuts the login that this is typed in.

    What is wrong with the configuration is said before anything is stopped. Options of the up before count no more.
    """

    def action() -> int:
        # Here, because the configuration is slow to load, and --help does not need it.
        from hyperion.cli.restart_server import run_restart_server  # noqa: PLC0415

        return run_restart_server(_up_options(given, dry_run=dry_run), now=now)

    return action


def _up_options(given: Mapping[str, Any], *, dry_run: bool) -> "UpOptions":
    # Here, because the configuration is slow to load, and --help does not need it.
    from hyperion.cli.up import UpOptions, run_arguments  # noqa: PLC0415

    return UpOptions(
        program="server",
        config_file=given["config_file"],
        dry_run=dry_run,
        passphrase_fd=given["passphrase_fd"],
        arguments=run_arguments(given, "workers", "user", "drain_timeout", "log_level"),
        user=given["user"],
    )


for command in (
    init,
    add_admin,
    rm_admin,
    admins,
    shared_commands.completion(program, PROGRAM),
    shared_commands.keygen("a server"),
    shared_commands.status("server", "workers, admins, sessions, the gate"),
    shared_commands.down("server"),
    shared_commands.reload("server"),
):
    program.add_command(command)
