"""What transparent mode is to look like: the device, which addresses stand for which server, which rules lead there.

* fake addresses: each server has one of a subnet of the device's own
* real addresses: each server has the address it really has; routes of a table of their own lead to the device, and a
  rule keeps the tunnel's own packets, which carry a mark, away from it

Pure, but for looking up names. Refuses to know who makes the device and sets the rules.

Source: DESIGN section 6. Mark, table and priority are the original's.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address

from hyperion.config import ClientConfig
from hyperion.config.fake_ipv6 import PREFIX, ipv6_beside
from hyperion.errors import ConfigError, TemporaryError
from hyperion.proto.control_keeper import RoutingRule
from hyperion.proto.control_tund import DeviceSettings
from hyperion.way_out import DEVICE_NAME

#: On the tunnel's own packets: knocks and connections (SO_MARK). "hy".
TUNNEL_MARK = 0x6879
#: The table of routes to real addresses, and the priority of the rules that lead there.
ROUTE_TABLE = 26_745
RULE_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """``addresses``: of each server, by name. ``rule``: to be set while it holds. ``mark``: on the tunnel's sockets."""

    settings: DeviceSettings
    addresses: Mapping[str, tuple[str, ...]]
    rule: RoutingRule | None = None
    mark: int | None = None


def fake_plan(config: ClientConfig) -> Plan:
    """The device's subnets, and a route for each fake address that lies outside of them."""
    subnet = IPv4Network((config.tun.address, config.tun.prefix), strict=False)
    outside = {f"{server.virtual_ip}/32" for server in config.servers if server.virtual_ip not in subnet}
    addresses = {
        server.name: (str(server.virtual_ip), str(ipv6_beside(server.virtual_ip))) for server in config.servers
    }
    return Plan(_device(config, tuple(sorted(outside)), 0), addresses)


def real_plan(config: ClientConfig, addresses: Mapping[str, tuple[str, ...]], *, apply: bool) -> Plan:
    """Real addresses. ``apply``: routes and rules are ours to set; otherwise the operator has, with ``print-routes``.

    Raises ``ConfigError`` if two servers share an address: a packet to it could be for either.
    """
    require_own_addresses(addresses)
    routes = tuple(host_route(address) for own in addresses.values() for address in own) if apply else ()
    versions = tuple(sorted({ip_address(address).version for own in addresses.values() for address in own}))
    rule = RoutingRule(versions, TUNNEL_MARK, ROUTE_TABLE, RULE_PRIORITY) if apply else None
    return Plan(_device(config, routes, ROUTE_TABLE), dict(addresses), rule, TUNNEL_MARK)


def resolve_servers(config: ClientConfig) -> dict[str, tuple[str, ...]]:
    """All addresses of each server, in the order in which they would be tried. Raises ``TemporaryError``,
    ``ConfigError``."""
    return resolve_hosts({server.name: server.endpoint.host for server in config.servers})


def resolve_hosts(hosts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The same for any hosts, by name."""
    return {name: _resolve(name, host) for name, host in hosts.items()}


def require_own_addresses(addresses: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ``ConfigError`` if two servers share an address."""
    owner: dict[str, str] = {}
    for name, own in addresses.items():
        for address in own:
            if owner.setdefault(address, name) != name:
                raise ConfigError(
                    f"{owner[address]} and {name} both have the address {address}",
                    hint="fake addresses tell them apart: hyperion-client up",
                )


def host_route(address: str) -> str:
    """A network of this one address."""
    return f"{address}/{ip_address(address).max_prefixlen}"


def _resolve(name: str, host: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == socket.EAI_AGAIN:
            raise TemporaryError(f"cannot look up {host} now", hint="is the name service up?") from None
        raise ConfigError(f"{name}: no such host: {host}", hint="check addr in the configuration") from None
    addresses = (str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(dict.fromkeys(address for address in addresses if not ip_address(address).is_link_local))


def _device(config: ClientConfig, routes: tuple[str, ...], table: int) -> DeviceSettings:
    tun = config.tun
    return DeviceSettings(
        name=DEVICE_NAME,
        ipv4=f"{tun.address}/{tun.prefix}",
        ipv6=f"{ipv6_beside(tun.address)}/{PREFIX.prefixlen}",
        mtu=tun.mtu,
        routes=routes,
        table=table,
    )
