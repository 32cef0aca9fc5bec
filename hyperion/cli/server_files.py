"""Commands of ``hyperion-server`` that make, show and edit its files."""

from pathlib import Path

import click

from hyperion.cli import complete, options
from hyperion.cli.border import Action


@click.command(short_help="Write the first configuration and key.")
@click.option("--salt", metavar="SALT", required=True, help="The shared salt that hyperion-client init printed.")
@click.option("--admin-key", metavar="KEY", required=True, help="The admin's public key.")
@click.option("--admin-name", metavar="NAME", help="What logs and status call this admin. [default: the fingerprint]")
@click.option("--allow", metavar="PORTS", default="", help="Local ports that admins may reach, like 22,5432.")
@click.option(
    "--listen", metavar="ADDRESS:PORT", default="0.0.0.0:8443", show_default=True, help="Where the tunnel listens."
)
@click.option("--force", is_flag=True, help="Start over with a new key; what was there is kept under another name.")
@options.dry_run
@options.json("hyperion.server-init/1")
@options.debug
def init(
    salt: str,
    admin_key: str,
    admin_name: str | None,
    allow: str,
    listen: str,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> Action:
    """Write the first configuration and key, and say what to do next."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.init_server import Order, run_init  # noqa: PLC0415

        order = Order(salt, admin_key, admin_name, allow, listen)
        return run_init(order, force=force, dry_run=dry_run, as_json=as_json)

    return action


@click.command("add-admin", short_help="Let one more admin in.")
@options.config("server.toml")
@click.argument("name")
@click.argument("pubkey")
@click.option("--allow", metavar="PORTS", help="Ports this admin may reach, like 22,5432. [default: those of [egress]]")
@click.option("--expires", metavar="WHEN", help="When this admin is out: 2027-01-31, 2027-01-31T18:00:00Z, 12h or 90d.")
@options.dry_run
@options.json("hyperion.add-admin/1")
@options.debug
def add_admin(
    config_file: Path | None,
    name: str,
    pubkey: str,
    allow: str | None,
    expires: str | None,
    dry_run: bool,
    as_json: bool,
) -> Action:
    """Let one more admin in, under a NAME for logs and status."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.admins import Newcomer, run_add  # noqa: PLC0415

        return run_add(config_file, Newcomer(name, pubkey, allow, expires), dry_run=dry_run, as_json=as_json)

    return action


@click.command("rm-admin", short_help="Let an admin in no more.")
@options.config("server.toml")
@click.argument("name", metavar="NAME|FINGERPRINT", type=complete.AdminName())
@options.dry_run
@options.json("hyperion.rm-admin/1")
@options.debug
def rm_admin(config_file: Path | None, name: str, dry_run: bool, as_json: bool) -> Action:
    """Let an admin in no more; a reload then cuts the sessions that are open."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.admins import run_remove  # noqa: PLC0415

        return run_remove(config_file, name, dry_run=dry_run, as_json=as_json)

    return action


@click.command(short_help="List who may come in, where to, and until when.")
@options.config("server.toml")
@options.json("hyperion.admins/1")
@options.debug
def admins(config_file: Path | None, as_json: bool) -> Action:
    """List who may come in, where to, and until when."""

    def action() -> int:
        # Here, because cryptography and tomlkit are slow to load.
        from hyperion.cli.admins import run_admins  # noqa: PLC0415

        return run_admins(config_file, as_json=as_json)

    return action
