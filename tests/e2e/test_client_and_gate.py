"""The server as an operator starts it, with its own knockd, and the client as an admin starts it; nothing is stood in
for. What an admin sees of the gate; the server's side of it is ``test_whole_gate``."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.gate import SCANS, gets_in, scan, udp_scan
from tests.helpers.gated import Whole, percentiles, whole
from tests.helpers.knockd_process import PORT, elements, send
from tests.helpers.netns import Topology, topology
from tests.helpers.packets_out import PacketsOut
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def running(network: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(network, tmp_path_factory.mktemp("w")) as made:
        until(made.opens, 20)
        yield made


@pytest.fixture
def server(running: Whole) -> Whole:
    """Nobody is in."""
    until(running.opens, 20)  # what an earlier test killed is back
    running.shut()
    return running


@pytest.mark.parametrize("version", [4, 6])
def test_silent_then_open_for_the_knocker_alone(server: Whole, network: Topology, version: int) -> None:
    target = network.server.ipv4 if version == 4 else network.server.ipv6
    out = PacketsOut(
        network.server, network.admin.ipv4, network.admin.ipv6, network.attacker.ipv4, network.attacker.ipv6
    )
    for host in (network.admin, network.attacker):
        for flags in SCANS.values():
            scan(host, target, [22, PORT], flags)
        udp_scan(host, target, [22, PORT])
    assert out.count() == 0
    status, found = server.examine(network.admin, server.client_file(target))
    assert (status, found["ok"]) == (0, True)
    assert [step["name"] for step in found["steps"]] == ["resolve", "knock", "connect", "handshake", "record"]
    assert out.count() > 0
    assert not gets_in(network.attacker, target)
    assert elements(network.server).keys() == {network.admin.ipv4 if version == 4 else network.admin.ipv6}


@pytest.mark.parametrize("count", [5, pytest.param(30, marks=pytest.mark.long)])
def test_a_gate_costs_a_few_milliseconds(server: Whole, network: Topology, count: int) -> None:
    dials = server.dials(network.admin, server.target, count)
    assert [dial.reason for dial in dials if dial.reason] == []
    print(f"the whole server: {count} dials, {percentiles([dial.seconds for dial in dials])}")


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.long)])
def test_no_knock_is_taken_twice_over_a_kill(server: Whole, network: Topology, kills: int) -> None:
    target = network.server.ipv4
    for _ in range(kills):
        seen = server.knock(network.admin, target)
        until(lambda: network.admin.ipv4 in elements(network.server))
        os.kill(server.knockd_pid(), signal.SIGKILL)
        server.shut()
        until(server.opens, 5)  # it is back
        send(network.attacker, target, seen)
        time.sleep(0.2)
        assert network.attacker.ipv4 not in elements(network.server)
        server.shut()


def test_one_connection_for_each_knock(tmp_path: Path) -> None:
    with topology() as network, whole(network, tmp_path, one_shot=True) as server:
        until(server.opens, 20)
        running, port = server.client(network.admin, network.server.ipv4)
        assert not gets_in(network.admin, network.server.ipv4) or not gets_in(network.admin, network.server.ipv4)
        with network.admin.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(("127.0.0.1", port))
            client.sendall(b"there")
            assert client.recv(100) == b"there"
        assert running.events("internal-error") == []
