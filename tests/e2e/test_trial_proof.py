"""A trial of the firewall that a real server proves, or cannot: its own knockd, a real client, real knocks."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.firewall.snapshot import comparable
from tests.helpers.gate import Inside, gets_in
from tests.helpers.gated import Whole, whole
from tests.helpers.knockd_process import PORT, SET, TABLE
from tests.helpers.netns import Topology
from tests.helpers.trials import Applying, remove_firewall
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

RULES = Ruleset(PORT, table=TABLE, set=SET)


@pytest.fixture
def server(network: Topology, nft: Inside, tmp_path: Path) -> Iterator[Whole]:
    """Behind its gate, as it would be after an earlier apply."""
    with whole(network, tmp_path) as made:
        until(made.opens)
        yield made


def apply(server: Whole, seconds: int, *arguments: str) -> Applying:
    config = ("--config", str(server.directory / "server.toml"))
    return Applying(
        server.network.server, server.directory, *config, "--yes", "--confirm-within", str(seconds), *arguments
    )


def examine(server: Whole, seconds: float = 10) -> bool:
    """``hyperion-client doctor`` on the admin's machine: a knock and a handshake."""
    file = server.client_file(server.network.server.ipv4)
    status, _ = server.examine(server.network.admin, file, "--timeout", str(seconds))
    return status == 0


def listing(network: Topology) -> str:
    return network.server.run("nft", "list", "ruleset")


def test_a_knock_and_a_handshake_commit(server: Whole, network: Topology, nft: Inside) -> None:
    applying = apply(server, 60, "--keep-port", "22").loaded()
    assert "keep-port 22" in listing(network)
    assert examine(server)
    assert applying.ended() == 0
    assert applying.out == f"committed: a knock and a handshake of {network.admin.ipv4} came through the new rules\n"
    # The server guards the new rules, with the port that is kept.
    assert "keep-port 22" in listing(network)
    nft.load("flush ruleset")
    until(lambda: "keep-port 22" in listing(network))
    assert examine(server)


def test_the_first_apply_of_a_host_opens_the_gate(
    server: Whole, network: Topology, nft: Inside, tmp_path: Path
) -> None:
    """There is no table, so the server takes nobody; there is one, and it takes who knocks."""
    remove_firewall(server.network.server, server.directory)
    assert not examine(server, 2)
    applying = apply(server, 60).loaded()
    assert examine(server)
    assert applying.ended() == 0
    assert not gets_in(network.attacker, network.server.ipv4, PORT)


def test_a_grant_from_before_is_no_proof(server: Whole, network: Topology) -> None:
    """The source is in already, its session opens: but nobody knocked since."""
    nft = network.server
    nft.run("nft", "add", "element", "inet", TABLE, SET, f"{{ {network.admin.ipv4} timeout 60s }}")
    before = listing(network)
    applying = apply(server, 3).loaded()
    file = server.client_file(network.server.ipv4, knock=False, name="silent")
    status, _ = server.examine(network.admin, file)
    assert status == 0
    assert applying.ended() == 75
    assert f"session from {network.admin.ipv4}" in applying.err
    assert "knock from" not in applying.err
    assert comparable(listing(network), living=False) == comparable(before, living=False)


@pytest.mark.parametrize("wrong", ["port", "set", "table"])
def test_wrong_rules_are_rolled_back(server: Whole, network: Topology, wrong: str) -> None:
    """The client does all it should, and does not get in; or not through these rules."""
    flags = {"port": ("--tunnel-port", "9443"), "set": ("--set", "other"), "table": ("--table", "other")}[wrong]
    server.shut()
    before = listing(network)
    applying = apply(server, 6, *flags).loaded()
    if wrong != "table":
        assert not examine(server, 2)
    assert applying.ended() == 75
    assert comparable(listing(network), living=False) == comparable(before, living=False)
    until(server.opens)
    assert examine(server)  # as before


def test_knockd_dies_meanwhile(server: Whole, network: Topology) -> None:
    server.shut()
    before = listing(network)
    applying = apply(server, 5, "--keep-port", "22").loaded()
    os.kill(server.knockd_pid(), signal.SIGSTOP)
    assert not examine(server, 2)
    assert applying.ended() == 75
    assert comparable(listing(network), living=False) == comparable(before, living=False)


def test_the_server_dies_meanwhile(server: Whole, network: Topology) -> None:
    server.shut()
    before = listing(network)
    applying = apply(server, 2, "--keep-port", "22").loaded()
    server.server.send(signal.SIGKILL)
    assert applying.ended() == 75
    assert comparable(listing(network), living=False) == comparable(before, living=False)


def test_a_knockd_that_hangs_is_found_out_before_anything_is_changed(
    server: Whole, network: Topology, nft: Inside
) -> None:
    before = listing(network)
    os.kill(server.knockd_pid(), signal.SIGSTOP)
    applying = apply(server, 60, "--keep-port", "22")
    assert applying.ended() == 69
    assert "the running server cannot let go of its table: knockd does not answer" in applying.err
    assert comparable(listing(network), living=False) == comparable(before, living=False)
    # Nothing is left of it: whoever guards now puts back what goes.
    server.server.wait_events("gate-open", 2)
    nft.load("flush ruleset")
    until(lambda: "chain input" in listing(network), 2)
    assert examine(server)


def test_nobody_comes_and_the_guard_guards_what_was(server: Whole, network: Topology, nft: Inside) -> None:
    server.shut()
    before = listing(network)
    assert apply(server, 1, "--keep-port", "22").ended() == 75
    assert comparable(listing(network), living=False) == comparable(before, living=False)
    time.sleep(0.5)
    nft.load("flush ruleset")
    until(lambda: "chain input" in listing(network))
    assert "keep-port" not in listing(network)
    assert examine(server)


def test_remove_is_no_meddling_and_fails_closed(server: Whole, network: Topology, nft: Inside) -> None:
    nft.load("table ip theirs {\nchain c {\ncounter\n}\n}")
    assert examine(server)
    told = remove_firewall(server.network.server, server.directory)
    assert f"removed table inet {TABLE}" in told
    assert "the running server has no gate now, and takes no new connection until it has one" in told
    time.sleep(1)
    assert "theirs" in listing(network)
    assert TABLE not in listing(network)  # the guard does not bring it back
    assert not examine(server, 2)
    assert not gets_in(network.attacker, network.server.ipv4, PORT)
    assert "nothing to remove" in remove_firewall(server.network.server, server.directory)
    nft.load(ruleset_text(RULES))
    until(lambda: examine(server))
