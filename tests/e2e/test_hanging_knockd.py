"""A knockd that hangs: how long a stranger has, and that one that is only busy, or stood still with the
whole machine, is not taken for one."""

import os
import random
import signal
import time

import pytest

from tests.helpers.flood import Flood
from tests.helpers.gate import reaches
from tests.helpers.gated import Transfer
from tests.helpers.netns import Topology
from tests.helpers.special import Special

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

#: From the moment in which knockd begins to hang to that in which nobody new gets in, whoever flushes its table.
MAX_HANG_SECONDS = 4.0
#: Pause between two looks from outside, seconds: what is measured is a hundred times as long.
LOOK_SECONDS = 0.02


def hang_again_and_again(network: Topology, server: Special, times: int) -> None:
    """The table is flushed meanwhile: a stranger gets through to the port until somebody notices that knockd hangs."""
    host, exposed = network.server, []
    _, port = server.client(network.admin, host.ipv4)
    with Transfer(network.admin, port):
        for number in range(times):
            hung_at = last = time.monotonic()
            os.kill(server.knockd_pid(), signal.SIGSTOP)
            host.run("nft", "flush", "ruleset")
            while not server.server.has_events("gate-shut", number + 1, within=LOOK_SECONDS):
                began = time.monotonic()
                last = began if reaches(network.attacker, host.ipv4) else last
            assert last > hung_at, "nothing was open: the test shows nothing"
            assert not reaches(network.attacker, host.ipv4)
            exposed.append(last - hung_at)
            # Nobody loads it: the next knockd knows what the one before it guarded.
            server.server.wait_events("gate-open", number + 2)
            assert len(server.server.wait_events("firewall-restore", number + 1)) == number + 1
            assert len(server.server.events("gate-shut")) == number + 1
            assert not reaches(network.attacker, host.ipv4)
            server.let_in(host.ipv6)
            server.shut()
    exposed.sort()
    print(f"{times} hanging knockds: port reachable for p50 {exposed[times // 2]:.2f} s, worst {exposed[-1]:.2f} s")
    assert exposed[-1] <= MAX_HANG_SECONDS


@pytest.mark.alone
def test_it_is_noticed_within_seconds(network: Topology, server: Special) -> None:
    hang_again_and_again(network, server, 1)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_is_noticed_20_times(network: Topology, server: Special) -> None:
    hang_again_and_again(network, server, 20)


@pytest.mark.parametrize("times", [4, pytest.param(14, marks=pytest.mark.long)])
def test_one_that_stood_still_with_the_machine_does_not_hang(server: Special, times: int) -> None:
    """Supervisor and knockd are stopped together, as when a virtual machine is moved or a cgroup frozen."""
    knockd = server.knockd_pid()
    family = (server.server.pid, knockd)
    chance = random.Random(9)
    for number in range(times):
        time.sleep(1.2 + chance.random())  # somewhere between two signs of life
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.15 + 0.56 * number / (times - 1))
        for pid in family:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.0)
        assert server.knockd_pid() == knockd
    assert not server.server.events("worker-crashed")
    assert not server.server.events("gate-shut")


@pytest.mark.alone
@pytest.mark.parametrize(
    ("rate", "seconds"), [(20_000, 6), pytest.param(50_000, 60, marks=pytest.mark.long)], ids=["short", "long"]
)
@pytest.mark.timeout(240)
def test_a_flooded_one_does_not_hang(network: Topology, server: Special, rate: int, seconds: int) -> None:
    knockd, came_in = server.knockd_pid(), 0
    flood = Flood(network.attacker, network.server.ipv4, rate, seconds)
    while flood.runs:
        server.let_in(network.server.ipv4)
        came_in += 1
        server.shut()
    print(f"{flood.sent()} knock-shaped packets in {seconds} s, {came_in} times let in meanwhile")
    assert came_in >= seconds // 4
    assert server.knockd_pid() == knockd
    assert not server.server.events("gate-shut")
    assert not server.server.events("worker-crashed")
