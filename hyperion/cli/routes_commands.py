"""The commands of transparent mode under real addresses; ``client`` adds them to its program."""

from pathlib import Path
from typing import Any

import click

from hyperion.cli import options
from hyperion.cli.border import Action


@click.command(short_help="Transparent mode under the servers' real addresses.")
@options.config("hyperion.toml")
@click.option("--tun-addr", metavar="ADDR", help="The device's own address. [default: [tun] addr]")
@click.option("--prefix", type=click.IntRange(1, 30), help="Length of its subnet's prefix. [default: [tun] prefix]")
@click.option("--mtu", type=click.IntRange(68, 65_535), help="Largest packet, bytes. [default: [tun] mtu]")
@click.option("--apply", "apply_routes", is_flag=True, help="Set routes and rule as print-routes says, while it runs.")
@options.hosts
@options.client_user
@options.drain_timeout
@options.log
@options.debug
def tun(apply_routes: bool, **given: Any) -> Action:
    """Transparent mode under the servers' real addresses, in the foreground; needs root or CAP_NET_ADMIN.

    Without --apply, print-routes says what leads there.
    """

    def action() -> int:
        # Here, because the supervisor and all it needs are slow to load, and --help does not need them.
        from hyperion.cli.run_tun import RealMode, run_tun  # noqa: PLC0415

        mode = RealMode(given["tun_addr"], given["prefix"], given["mtu"], apply=apply_routes)
        return run_tun(mode, given)

    return action


@click.command("print-routes", short_help="Print the routes that tun needs, as a shell script.")
@options.config("hyperion.toml")
@click.option("--dev", metavar="NAME", default="hyperion0", show_default=True, help="The device.")
@click.option("--mark", type=click.IntRange(1, 2**32 - 1), default=26_745, show_default=True, help="The tunnel's mark.")
@click.option("--table", type=click.IntRange(1, 2**32 - 1), default=26_745, show_default=True, help="Routing table.")
@click.option("--priority", type=click.IntRange(1, 32_765), default=100, show_default=True, help="Of the rule.")
@click.option("--down", is_flag=True, help="Take everything away.")
@options.json("hyperion.print-routes/1")
@options.debug
def print_routes(config_file: Path | None, down: bool, as_json: bool, **routing: Any) -> Action:
    """Print a shell script that leads the servers' real addresses to "hyperion-client tun"; changes nothing."""

    def action() -> int:
        # Here, because the configuration is slow to load, and --help does not need it.
        from hyperion.cli.print_routes import Routing, run_print_routes  # noqa: PLC0415

        chosen = Routing(routing["dev"], routing["mark"], routing["table"], routing["priority"])
        return run_print_routes(config_file, chosen, down=down, as_json=as_json)

    return action
