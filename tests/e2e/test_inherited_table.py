"""A table that goes while knockd hangs or is away: the next knockd puts back what the one before it guarded, and not
what an operator took away."""

import os
import signal
import time

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from tests.helpers.gate import gets_in
from tests.helpers.knockd_process import PORT, SET, TABLE, load_table
from tests.helpers.netns import Topology
from tests.helpers.special import Special
from tests.helpers.trials import remove_firewall
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

#: What the issue allows knockd to be away for.
MAX_AWAY_SECONDS = 2.0
OWN = (
    "table inet hyperion {\n\tset trusted {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.7, 192.0.2.9 }\n\t}\n}\n"
    "insert rule inet hyperion input ip saddr @trusted tcp dport 22 accept\n"
)


def crash(server: Special, meddling: str) -> None:
    """What is done to the rules is done while nobody guards them."""
    knockd = server.knockd_pid()
    os.kill(knockd, signal.SIGSTOP)
    server.network.server.run("nft", "-f", "-", input=meddling)
    os.kill(knockd, signal.SIGKILL)


def listing(server: Special) -> str:
    return server.network.server.run("nft", "list", "ruleset")


@pytest.mark.parametrize("meddling", ["flush ruleset", f"flush table inet {TABLE}", f"delete table inet {TABLE}"])
def test_it_is_back_with_the_next_knockd(network: Topology, server: Special, meddling: str) -> None:
    remove_firewall(server.network.server, server.directory)
    network.server.run("nft", "-f", "-", input=ruleset_text(Ruleset(PORT, table=TABLE, set=SET)) + OWN)
    server.server.wait_events("gate-open", 2)
    began = time.monotonic()
    crash(server, meddling)
    server.server.wait_events("gate-open", 3)
    print(f"{meddling}: the gate works again after {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began <= MAX_AWAY_SECONDS
    assert len(server.server.wait_events("firewall-restore")) == 1
    assert len(server.server.events("gate-shut")) == 2  # when the operator removed it, and now
    assert "192.0.2.9" in listing(server)
    assert "ip saddr @trusted" in listing(server)
    assert not gets_in(network.attacker, network.server.ipv4)
    server.let_in(network.server.ipv6)


def test_not_if_an_operator_took_it_away(network: Topology, server: Special) -> None:
    assert "removed table" in remove_firewall(server.network.server, server.directory)
    os.kill(server.knockd_pid(), signal.SIGKILL)
    server.server.wait_events("worker-started", 4)
    time.sleep(1)
    assert TABLE not in listing(server)
    # Nor if knockd is away at that moment, whether the table is there or not.
    load_table(network.server)
    server.server.wait_events("gate-open", 2)
    for number, meddling in enumerate(("", "flush ruleset")):
        crash(server, meddling)
        remove_firewall(server.network.server, server.directory)
        server.server.wait_events("worker-started", 5 + number)
        time.sleep(1)
        assert TABLE not in listing(server)
        load_table(network.server)
        server.server.wait_events("gate-open", 3 + number)
    server.let_in(network.server.ipv4)


def test_not_after_the_server_was_started_anew(network: Topology, server: Special) -> None:
    assert server.server.stop() == 0
    network.server.run("nft", "flush", "ruleset")
    server.server = server._start_server(20, one_shot=False)
    server.server.wait_events("gate-shut")
    os.kill(server.knockd_pid(), signal.SIGKILL)
    server.server.wait_events("worker-started", 4)
    until(lambda: server.tell_status()["gate"]["reason"] == "table: table-missing")
    assert TABLE not in listing(server)
