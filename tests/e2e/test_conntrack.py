"""Connections that are older than the firewall, in a host that tracked none until then."""

import socket
import sys
from collections.abc import Iterator

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.trial.connections import established, listening_ports
from hyperion.trial.conntrack import take_over
from tests.helpers.gate import TUNNEL_PORT, connect, service
from tests.helpers.netns import Topology, topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]
TEXT = ruleset_text(Ruleset(TUNNEL_PORT))


@pytest.fixture
def network() -> Iterator[Topology]:
    """Fresh: what was tracked once is known."""
    with topology() as network, service(network.server):
        yield network


def echoes(client: socket.socket, seconds: float) -> bool:
    client.settimeout(seconds)
    client.sendall(b"x")
    try:
        return client.recv(1) == b"x"
    except TimeoutError:
        return False


def enter(network: Topology) -> int:
    return network.server.call(lambda: take_over(established(), listening_ports()))


@pytest.mark.parametrize("version", [4, 6])
def test_the_client_may_speak_first(network: Topology, version: int) -> None:
    server = network.server
    address = server.ipv4 if version == 4 else server.ipv6
    with connect(network.admin, address, timeout=3) as client, connect(network.admin, address, timeout=3) as other:
        assert echoes(client, 3)
        assert echoes(other, 3)
        server.run("nft", "-f", "-", input=TEXT)
        # The proof of the proof: without it the connection hangs, as long as this host says nothing.
        assert not echoes(client, 0.8)
        assert enter(network) == 0
        assert echoes(other, 3)
        assert enter(network) == 0  # what is tracked already is left alone
        assert echoes(client, 5)
        assert client.recv(10) == b"x"  # the one from before was sent again, too


def test_one_that_this_host_began(network: Topology) -> None:
    with service(network.attacker, 9_000), connect(network.server, network.attacker.ipv4, 9_000, timeout=3) as ours:
        assert echoes(ours, 3)
        network.server.run("nft", "-f", "-", input=TEXT)
        assert enter(network) == 0
        assert echoes(ours, 3)


@pytest.mark.needs("setpriv")
def test_without_the_right_it_says_how_many(network: Topology) -> None:
    script = (
        "from hyperion.trial.connections import *\nfrom hyperion.trial.conntrack import take_over\n"
        "print(take_over(established(), listening_ports()))"
    )
    with connect(network.admin, network.server.ipv4, timeout=3):
        out = network.server.run("setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", script)
    assert out == "1\n"
