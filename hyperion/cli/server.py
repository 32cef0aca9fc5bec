"""``hyperion-server``: its commands and options."""

import os
import sys
from pathlib import Path

import click

from hyperion.cli import options
from hyperion.cli.border import Action, run_program

PROGRAM = "hyperion-server"

#: More workers than this help no machine, and each costs memory.
MAX_WORKERS = 256


def main() -> None:
    """Entry point."""
    sys.exit(run_program(PROGRAM, program))


@click.group(context_settings=options.CONTEXT)
@options.version
@options.debug
def program() -> None:
    """Serves ports of this machine to the admins it knows, through an encrypted tunnel."""


@program.command()
@options.config("server.toml")
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, MAX_WORKERS),
    help="Worker processes. [default: one for each processor]",
)
@options.drain_timeout
@options.log
@options.debug
def run(config_file: Path | None, workers: int | None, drain_timeout: float, log_format: str, log_level: str) -> Action:
    """Serve in the foreground until SIGTERM (drains) or SIGINT (stops); SIGHUP reloads."""

    def action() -> int:
        # Here, because the supervisor and all it needs are slow to load, and --help does not need them.
        from hyperion.cli.run_server import run_server  # noqa: PLC0415

        return run_server(
            config_file,
            workers=workers or count_processors(),
            drain_timeout=drain_timeout,
            log_format=log_format,
            log_level=log_level,
        )

    return action


@program.command()
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the private key there.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@options.json("hyperion.keygen/1")
@options.debug
def keygen(out: Path | None, force: bool, as_json: bool) -> Action:
    """Make the key pair of a server."""

    def action() -> int:
        # Here, because cryptography is slow to load.
        from hyperion.cli.keygen import run_keygen  # noqa: PLC0415

        return run_keygen(out, force=force, as_json=as_json)

    return action


def count_processors() -> int:
    """Those this process may run on, where the system says so: a container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)
