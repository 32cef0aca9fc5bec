"""What transparent mode is to look like."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperion.config import ClientConfig, Endpoint
from hyperion.config.settings import TunSettings
from hyperion.errors import ConfigError
from hyperion.proto.control_keeper import RoutingRule
from hyperion.supervisor.plan import TUNNEL_MARK, fake_plan, host_route, real_plan, resolve_hosts, resolve_servers
from tests.helpers.supervise import client_config


@pytest.fixture
def config(tmp_path: Path) -> ClientConfig:
    path = tmp_path / "settings.json"
    path.write_text('{"servers": {"web1": 1, "db1": 1}, "forwards": []}', encoding="utf-8")
    made = client_config(path)
    servers = tuple(
        replace(server, virtual_ip=IPv4Address(f"10.99.0.{number}"), endpoint=Endpoint(f"192.0.2.{number}", 8443))
        for number, server in enumerate(made.servers, 10)
    )
    return replace(made, servers=servers, tun=TunSettings(IPv4Address("10.99.0.1"), 24, 65_535))


def test_fake_addresses(config: ClientConfig) -> None:
    plan = fake_plan(config)
    settings = plan.settings
    assert (settings.ipv4, settings.ipv6, settings.mtu) == ("10.99.0.1/24", "fd68:7970:6572::a63:1/96", 65_535)
    assert (settings.routes, settings.table, plan.rule, plan.mark) == ((), 0, None, None)
    assert plan.addresses == {
        "web1": ("10.99.0.10", "fd68:7970:6572::a63:a"),
        "db1": ("10.99.0.11", "fd68:7970:6572::a63:b"),
    }


def test_a_fake_address_outside_the_subnet_has_a_route(config: ClientConfig) -> None:
    outside = replace(config.servers[0], virtual_ip=IPv4Address("198.51.100.7"))
    assert fake_plan(replace(config, servers=(outside,))).settings.routes == ("198.51.100.7/32",)


def test_real_addresses(config: ClientConfig) -> None:
    addresses = {"web1": ("192.0.2.10", "2001:db8::10"), "db1": ("192.0.2.11",)}
    plan = real_plan(config, addresses, apply=True)
    assert plan.addresses == addresses
    assert plan.settings.routes == ("192.0.2.10/32", "2001:db8::10/128", "192.0.2.11/32")
    assert plan.settings.table == 26_745
    assert plan.rule == RoutingRule((4, 6), 0x6879, 26_745, 100)
    assert plan.mark == TUNNEL_MARK
    left_to_the_operator = real_plan(config, addresses, apply=False)
    assert (left_to_the_operator.settings.routes, left_to_the_operator.rule) == ((), None)
    assert left_to_the_operator.mark == TUNNEL_MARK


def test_two_servers_at_one_address_cannot_be_told_apart(config: ClientConfig) -> None:
    with pytest.raises(ConfigError, match="web1 and db1 both have the address"):
        real_plan(config, {"web1": ("192.0.2.1",), "db1": ("192.0.2.1",)}, apply=True)


def test_names_are_looked_up(config: ClientConfig) -> None:
    assert resolve_servers(config) == {"web1": ("192.0.2.10",), "db1": ("192.0.2.11",)}
    assert "127.0.0.1" in resolve_hosts({"here": "localhost"})["here"]
    with pytest.raises(ConfigError, match="no such host"):
        resolve_hosts({"web1": "no such host"})


def test_a_network_of_one() -> None:
    assert (host_route("192.0.2.1"), host_route("2001:db8::1")) == ("192.0.2.1/32", "2001:db8::1/128")
