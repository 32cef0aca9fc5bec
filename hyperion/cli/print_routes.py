"""``hyperion-client print-routes``: a shell script that leads the servers' real addresses to the device, or no longer.

Pure, but for looking up names: it changes nothing. The script may be run again after the list of servers has changed:
it begins with taking away what an earlier run left.

The original has a rule for each server, with "not" in it. That turns the whole rule round: the marked packets of every
other server match it, and go into the device. Here one rule stands for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import msgspec

from hyperion.cli.loading import client_path
from hyperion.cli.output import say
from hyperion.config.outline import outline_client
from hyperion.config.reading import read_client
from hyperion.supervisor.plan import (
    ROUTE_TABLE,
    RULE_PRIORITY,
    TUNNEL_MARK,
    host_route,
    require_own_addresses,
    resolve_hosts,
)
from hyperion.way_out import DEVICE_NAME

SCHEMA = "hyperion.print-routes/1"


class RoutesDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` prints. ``addresses``: of each server, by name; ``script``: what is printed without it."""

    schema: str = SCHEMA
    device: str
    down: bool
    addresses: dict[str, list[str]]
    script: str


@dataclass(frozen=True, slots=True)
class Routing:
    """What may be chosen: device, mark, table, priority."""

    device: str = DEVICE_NAME
    mark: int = TUNNEL_MARK
    table: int = ROUTE_TABLE
    priority: int = RULE_PRIORITY


def run_print_routes(config_file: Path | None, routing: Routing, *, down: bool, as_json: bool = False) -> int:
    """Needs no key and no passphrase: names and addresses are all that it reads. Raises what reading raises."""
    path = client_path(config_file)
    outline = outline_client(path, read_client(path))  # also judges the names, which stand in the script
    hosts = {} if down else {server.name: server.endpoint.host for server in outline.servers}
    addresses = resolve_hosts(hosts)
    require_own_addresses(addresses)  # as tun does: no route can tell such servers apart
    text = script(addresses, routing, down=down)
    if as_json:
        found = {name: list(own) for name, own in addresses.items()}
        document = RoutesDocument(device=routing.device, down=down, addresses=found, script=text)
        say(msgspec.json.encode(document).decode())
    else:
        say(text.rstrip("\n"))
    return 0


def script(addresses: Mapping[str, tuple[str, ...]], routing: Routing, *, down: bool = False) -> str:
    """The script. ``addresses`` of each server, by name; ``down``: it only takes away."""
    lines = ["#!/bin/sh", *_header(down=down), "set -e", *_clear(routing)]
    if not down:
        for name, own in addresses.items():
            lines.append(f"# {name}")
            lines += [_route(address, routing) for address in own]
        versions = sorted({ip_address(address).version for own in addresses.values() for address in own})
        lines.append("# the tunnel's own packets carry the mark and take the usual way")
        place = f"lookup {routing.table} priority {routing.priority}"
        lines += [f"ip -{version} rule add not fwmark {routing.mark:#x} {place}" for version in versions]
    return "\n".join([*lines, ""])


def _header(*, down: bool) -> list[str]:
    if down:
        return ["# takes away what hyperion-client print-routes set up"]
    return [
        "# the servers' real addresses through hyperion-client tun, which must be running",
        "# may be run again; hyperion-client print-routes --down takes everything away",
        "# a strict reverse path filter (net.ipv4.conf.*.rp_filter = 1) on the way out drops the answers: 2 works",
    ]


def _clear(routing: Routing) -> list[str]:
    place = f"priority {routing.priority} lookup {routing.table}"
    return [
        line
        for version in (4, 6)
        for line in (
            f"while ip -{version} rule del {place} 2>/dev/null; do :; done",
            f"ip -{version} route flush table {routing.table} 2>/dev/null || :",
        )
    ]


def _route(address: str, routing: Routing) -> str:
    return (
        f"ip -{ip_address(address).version} route add {host_route(address)} dev {routing.device} table {routing.table}"
    )
