"""Commands that both programs have, each made for the program that is named: its options, and what it calls.

Loads little but click: what a command does is imported when it runs.
"""

from pathlib import Path
from typing import Any

import click

from hyperion.cli import complete, options
from hyperion.cli.border import Action
from hyperion.cli.output import say
from hyperion.paths import CONFIG_NAMES, Program


def completion(group: click.Group, title: str) -> click.Command:
    """``completion``: of the program called ``title``, whose commands are ``group``."""

    @click.command(
        "completion",
        help=f'Print the completion script of a shell; for bash: eval "$({title} completion bash)".',
        short_help="Print the completion script of a shell.",
    )
    @click.argument("shell", type=click.Choice(complete.SHELLS))
    @options.debug
    def command(shell: str) -> Action:
        def action() -> int:
            say(complete.script(title, group, shell))
            return 0

        return action

    return command


def keygen(whose: str) -> click.Command:
    """``keygen``."""

    @click.command("keygen", help=f"Make the key pair of {whose}.")
    @click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the private key there.")
    @click.option(
        "-y", "public_of", metavar="FILE", type=click.Path(path_type=Path), help="Only show FILE's public key."
    )
    @click.option("--force", is_flag=True, help="Replace FILE if it exists.")
    @options.dry_run
    @options.json("hyperion.keygen/1")
    @options.debug
    def command(out: Path | None, public_of: Path | None, force: bool, dry_run: bool, as_json: bool) -> Action:
        def action() -> int:
            # Here, because cryptography is slow to load.
            from hyperion.cli.keygen import run_keygen  # noqa: PLC0415

            return run_keygen(out, force=force, as_json=as_json, public_of=public_of, dry_run=dry_run)

        return action

    return command


def status(program: Program, what: str) -> click.Command:
    """``status``, which shows ``what``; that of a client takes names of servers."""

    @click.command(
        "status",
        help=f"Show how it goes: {what}. Exit code 3: not running, 4: degraded.",
        short_help="Show how it goes, worst first.",
    )
    @options.config(CONFIG_NAMES[program])
    @options.status
    @options.debug
    def command(config_file: Path | None, **given: Any) -> Action:
        def action() -> int:
            # Here, because --help does not need it.
            from hyperion.cli.status import run_status  # noqa: PLC0415

            return run_status(program, config_file, **given)

        return action

    if program == "server":
        return command
    return click.argument("names", metavar="[SERVER]...", nargs=-1, type=complete.ServerName())(command)


def down(program: Program) -> click.Command:
    """``down``."""

    @click.command(
        "down",
        help="Stop what runs in the background, and wait until it has; what runs through it may finish.",
        short_help="Stop what runs in the background.",
    )
    @options.config(CONFIG_NAMES[program])
    @options.now
    @options.dry_act
    @options.debug
    def command(config_file: Path | None, now: bool, dry_run: bool, yes: bool = False) -> Action:
        def action() -> int:
            # Here, because --help does not need it.
            from hyperion.cli.down import run_down  # noqa: PLC0415
            from hyperion.cli.transparent_mode import forget_names  # noqa: PLC0415

            code = run_down(program, config_file, now=now, dry_run=dry_run, yes=yes)
            if program == "client" and not dry_run:
                forget_names()
            return code

        return action

    if program == "client":
        return command
    return options.yes(command)


def reload(program: Program) -> click.Command:
    """``reload``."""

    @click.command(
        "reload",
        help="Have it read its configuration again; if that is wrong, say why, and nothing changes.",
        short_help="Have it read its configuration again.",
    )
    @options.config(CONFIG_NAMES[program])
    @options.dry_act
    @options.debug
    def command(config_file: Path | None, dry_run: bool) -> Action:
        def action() -> int:
            # Here, because --help does not need it.
            from hyperion.cli.reload import run_reload  # noqa: PLC0415

            return run_reload(program, config_file, dry_run=dry_run)

        return action

    return command
