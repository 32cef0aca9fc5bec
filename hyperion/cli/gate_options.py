"""The options that the commands about the firewall share. Loads little but click; what they mean: ``gate_rules``."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from hyperion.cli import options
from hyperion.cli.options import Command

_PORT = click.IntRange(1, 65_535)
#: As many as there are source ports.
_MOST_CONNECTIONS = 65_535


class GateFlags(NamedTuple):
    """The command line's part. ``None``: not said."""

    config_file: Path | None = None
    tunnel_port: int | None = None
    table: str | None = None
    set_name: str | None = None
    keep_ports: tuple[int, ...] = ()
    one_shot: bool | None = None
    dhcpv6: bool = False
    max_connections: int | None = None


def gate_options(command: Command) -> Command:
    """The options that ``GateFlags`` is made of, under its names."""
    for option in (
        _flag(
            "--max-connections",
            metavar="N",
            type=click.IntRange(1, _MOST_CONNECTIONS),
            help="Connections to the tunnel that one address may hold open. [default: 64]",
        ),
        _flag("--dhcpv6", is_flag=True, help="Let answers of a DHCPv6 server of the link in."),
        _flag("--one-shot/--no-one-shot", default=None, help="The first connection uses a grant up."),
        _flag(
            "--keep-port",
            "keep_ports",
            metavar="N",
            type=_PORT,
            multiple=True,
            help="Leave this TCP port open to everybody, as for SSH at first. Repeatable.",
        ),
    ):
        command = option(command)
    port = _flag("--tunnel-port", metavar="P", type=_PORT, help="TCP port of the tunnel. [default: that of listen]")
    return port(name_options(command))


def name_options(command: Command) -> Command:
    """Those that say which table is meant."""
    for option in (
        _flag("--set", "set_name", metavar="NAME", help="Set of admitted sources. [default: knock_allow]"),
        _flag("--table", metavar="NAME", help="Table, of the family inet. [default: hyperion]"),
        options.config("server.toml"),
    ):
        command = option(command)
    return command


def _flag(*names: str, **attributes: object) -> Callable[[Command], Command]:
    return click.option(*names, **attributes)  # type: ignore[arg-type]
