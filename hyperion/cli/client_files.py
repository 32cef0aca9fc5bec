"""Commands of ``hyperion-client`` that make, show and edit files: its own, and that of ssh."""

from pathlib import Path
from typing import Any

import click

from hyperion.cli import complete, options
from hyperion.cli.border import Action


@click.command(short_help="Write the first configuration, key and salt.")
@click.option("--force", is_flag=True, help="Start over with a new key; what was there is kept under another name.")
@options.dry_run
@options.json("hyperion.client-init/1")
@options.debug
def init(force: bool, dry_run: bool, as_json: bool) -> Action:
    """Write the first configuration, key and salt, and say what to do next."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.init_client import run_init  # noqa: PLC0415

        return run_init(force=force, dry_run=dry_run, as_json=as_json)

    return action


@click.command("add-server", short_help="Add a server to the configuration.")
@options.config("hyperion.toml")
@click.argument("name")
@click.argument("address", metavar="HOST[:PORT]")
@click.argument("pubkey")
@options.dry_run
@options.json("hyperion.add-server/1")
@options.debug
def add_server(config_file: Path | None, name: str, address: str, pubkey: str, dry_run: bool, as_json: bool) -> Action:
    """Add a server to the configuration, and give it a fake address. PORT is 8443 unless given."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.servers import run_add  # noqa: PLC0415

        return run_add(config_file, name, address, pubkey, dry_run=dry_run, as_json=as_json)

    return action


@click.command("rm-server")
@options.config("hyperion.toml")
@click.argument("name", metavar="NAME", type=complete.ServerName())
@click.option("--forwards", "with_forwards", is_flag=True, help="Remove the [[forward]]s that lead to it as well.")
@options.dry_run
@options.json("hyperion.rm-server/1")
@options.debug
def rm_server(config_file: Path | None, name: str, with_forwards: bool, dry_run: bool, as_json: bool) -> Action:
    """Remove a server from the configuration."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.servers import run_remove  # noqa: PLC0415

        return run_remove(config_file, name, with_forwards=with_forwards, dry_run=dry_run, as_json=as_json)

    return action


@click.command(short_help="List the servers of the configuration.")
@options.config("hyperion.toml")
@options.json("hyperion.ls/1")
@options.debug
def ls(config_file: Path | None, as_json: bool) -> Action:
    """List the servers of the configuration with their fake addresses."""

    def action() -> int:
        # Here, because cryptography is slow to load.
        from hyperion.cli.ls import run_ls  # noqa: PLC0415

        return run_ls(config_file, as_json=as_json)

    return action


@click.command("ssh-config", short_help="Let ssh, scp, git and rsync go through the tunnel.")
@options.config("hyperion.toml")
@click.option("--write", is_flag=True, help="Keep the blocks in a part of the ssh configuration of their own.")
@click.option("--remove", is_flag=True, help="Take that part out again.")
@click.option("--file", metavar="FILE", type=click.Path(path_type=Path), help="Which one. [default: ~/.ssh/config]")
@click.option("--prefix", metavar="TEXT", default="", help="Put TEXT before each name, like hyp- for ssh hyp-web1.")
@click.option(
    "--port", metavar="PORT", type=click.IntRange(1, 65_535), default=22, show_default=True, help="Where sshd listens."
)
@click.option("--fdpass", is_flag=True, help="Hand connections over to ssh: faster, but only while a client runs.")
@options.dry_run
@options.json("hyperion.ssh-config/1")
@options.debug
def ssh_config(config_file: Path | None, **wish: Any) -> Action:
    """Print a Host block for each server, so that ssh, scp, git and rsync go through the tunnel by its name."""

    def action() -> int:
        # Here, because cryptography is slow to load.
        from hyperion.cli.ssh_config import Wish, run_ssh_config  # noqa: PLC0415

        return run_ssh_config(config_file, Wish(**wish))

    return action
