"""The gate's table in a real kernel: who gets in, for how long, and what survives. Both ways to nftables."""

import hashlib
import json
import random
import sys
import time
from pathlib import Path

import pytest

from hyperion.firewall import ruleset as ruleset_module
from hyperion.firewall.listing import Listing
from hyperion.firewall.nft import NoSuchObjectError, SetFullError
from hyperion.firewall.nft_library import NftLibrary
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.knockd.firewall import Firewall, Outcome
from tests.helpers.adopted import adopted
from tests.helpers.gate import TUNNEL_PORT, Inside, connect, gets_in, inside, service
from tests.helpers.netns import Topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.usefixtures("listening")]
RULES = Ruleset(TUNNEL_PORT)


def check_life_cycle(network: Topology, firewall: Firewall, ttl: float = 2.0) -> None:
    server, admin = network.server.ipv4, network.admin
    assert not gets_in(admin, server)
    admitted_at = time.monotonic()
    firewall.admit(admin.ipv4, ttl)
    client = connect(admin, server)
    assert not gets_in(network.attacker, server)
    data = random.Random(7).randbytes(256 * 1024)
    sent, received = hashlib.sha256(), hashlib.sha256()
    while time.monotonic() < admitted_at + ttl + 0.3:  # over the end of the grant
        client.sendall(data)
        sent.update(data)
        left = len(data)
        while left:
            chunk = client.recv(left)
            assert chunk
            received.update(chunk)
            left -= len(chunk)
        time.sleep(0.05)
    assert not gets_in(admin, server)
    assert firewall.grants() == {}
    client.close()
    assert sent.digest() == received.digest()


def test_a_grant_opens_for_its_source_alone_and_its_end_cuts_nothing(network: Topology, firewall: Firewall) -> None:
    check_life_cycle(network, firewall)


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_life_cycle_100_times(network: Topology, firewall: Firewall) -> None:
    for _ in range(100):  # with each of the two backends: 200
        check_life_cycle(network, firewall)


def test_knocking_again_leaves_no_gap(network: Topology, firewall: Firewall) -> None:
    ttl, began = 2.0, time.monotonic()
    again_at = 0.0
    while (age := time.monotonic() - began) < 3 * ttl:
        if age >= again_at:
            firewall.admit(network.admin.ipv4, ttl)
            again_at += 1.4
        assert gets_in(network.admin, network.server.ipv4), f"closed after {age:.1f} s"
        time.sleep(0.1)


def test_ipv6_sources_and_the_mapped_spelling_of_ipv4(network: Topology, firewall: Firewall) -> None:
    assert not gets_in(network.admin, network.server.ipv6)
    firewall.admit(network.admin.ipv6, 30)
    assert gets_in(network.admin, network.server.ipv6)
    assert not gets_in(network.admin, network.server.ipv4)
    firewall.admit(f"::ffff:{network.admin.ipv4}", 30)
    assert gets_in(network.admin, network.server.ipv4)
    assert set(firewall.grants()) == {network.admin.ipv6, network.admin.ipv4}
    firewall.revoke(network.admin.ipv6)
    assert not gets_in(network.admin, network.server.ipv6)
    firewall.revoke(network.admin.ipv6)  # twice does no harm


def test_ipv6_outwards_goes_on_with_the_table_loaded(network: Topology, backend: Inside, firewall: Firewall) -> None:
    server, attacker = network.server, network.attacker
    with service(attacker):
        server.ip("-6", "neigh", "flush", "dev", "eth0")
        connect(server, attacker.ipv6, timeout=3).close()
        # The proof of the proof: without its rule, neighbour discovery ends.
        backend.load("flush chain inet hyperion input")
        server.ip("-6", "neigh", "flush", "dev", "eth0")
        with pytest.raises(OSError, match=r"timed out|No route to host"):
            connect(server, attacker.ipv6, timeout=1)


def permanent(backend: Inside) -> list[object]:
    """Elements without a timeout: a hole that never closes."""
    found = []
    for name in (RULES.set, RULES.set6):
        for item in json.loads(backend.list_json("set", "inet", "hyperion", name))["nftables"]:
            for element in item.get("set", {}).get("elem", ()):
                # One with a timeout is {"elem": {...}}, one without is just its value.
                facts = element["elem"] if isinstance(element, dict) and "elem" in element else {}
                if not {"expires", "timeout"} & facts.keys():
                    found.append(element)
    return found


def walk(network: Topology, backend: Inside, firewall: Firewall, steps: int) -> None:
    """No element is ever without a timeout, or with one longer than was given."""
    chance = random.Random(4)
    sources = [f"198.51.100.{number}" for number in range(6)] + [f"2001:db8::{number}" for number in range(1, 6)]
    ttl = 60.0
    for _ in range(steps):
        source = chance.choice(sources)
        match chance.randrange(20):
            case 0:
                backend.load("flush ruleset")
                firewall.ensure()
            case 1:
                firewall = Firewall(backend, RULES)
                firewall.ensure()
            case 2:
                # Somebody else's careless add: the set's default catches it.
                name = RULES.set6 if ":" in source else RULES.set
                backend.load(f"add element inet hyperion {name} {{ {source} }}")
            case 3:
                backend.load("add rule inet hyperion input accept")
                assert firewall.ensure() is Outcome.RESTORED_EDITED
            case 4 | 5 | 6 | 7:
                firewall.revoke(source)
            case _:
                firewall.admit(source, chance.choice([0.002, 0.5, 3.0, ttl]))
        listing = Listing(backend.list_json("table", "inet", "hyperion"))
        if permanent(backend):
            # nft shows no time for an element that is just at its end; what is for ever is still there later.
            time.sleep(0.05)
        assert permanent(backend) == []
        assert all(left <= ttl for left in listing.grants(RULES).values())


def test_no_element_is_ever_without_a_timeout(network: Topology, backend: Inside, firewall: Firewall) -> None:
    walk(network, backend, firewall, 300)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_no_element_is_ever_without_a_timeout_in_10_000_steps(
    network: Topology, backend: Inside, firewall: Firewall
) -> None:
    walk(network, backend, firewall, 10_000)


def test_each_source_has_so_many_connections_and_no_more(network: Topology, backend: Inside) -> None:
    firewall = adopted(backend, Ruleset(TUNNEL_PORT, max_connections=3))
    for admin, server in ((network.admin.ipv4, network.server.ipv4), (network.admin.ipv6, network.server.ipv6)):
        firewall.admit(admin, 30)
        clients = [connect(network.admin, server) for _ in range(3)]
        with pytest.raises(TimeoutError):
            connect(network.admin, server)
        for client in clients:
            client.close()


def test_a_one_shot_grant_is_used_up_by_the_first_connection(network: Topology, backend: Inside) -> None:
    firewall = adopted(backend, Ruleset(TUNNEL_PORT, one_shot=True))
    for admin, server in ((network.admin.ipv4, network.server.ipv4), (network.admin.ipv6, network.server.ipv6)):
        for _ in range(2):
            firewall.admit(admin, 30)
            with connect(network.admin, server) as first:
                assert not gets_in(network.admin, server)
                first.sendall(b"still here")
                assert first.recv(100) == b"still here"
        firewall.admit(admin, 30)
        backend.load("flush ruleset")
        assert firewall.ensure() is Outcome.RESTORED_DELETED
        # Whether it was used up is not known any more: closed, not open.
        assert not gets_in(network.admin, server)


def test_ports_that_are_kept_open(network: Topology, backend: Inside) -> None:
    backend.load(ruleset_text(Ruleset(TUNNEL_PORT, keep_ports=(2_222,))))
    with service(network.server, 2_222):
        assert gets_in(network.attacker, network.server.ipv4, 2_222)
        assert gets_in(network.attacker, network.server.ipv6, 2_222)


def test_two_firewalls_for_one_table_do_no_harm(network: Topology, backend: Inside, firewall: Firewall) -> None:
    firewall.admit(network.admin.ipv4, 30)
    second = Firewall(backend, RULES)
    before = backend.list_text("table", "inet", "hyperion")
    assert second.ensure() is Outcome.ADOPTED
    assert firewall.ensure() is Outcome.KEPT
    second.admit(network.attacker.ipv4, 20)
    assert backend.list_text("table", "inet", "hyperion") == before
    assert set(firewall.grants()) == {network.admin.ipv4, network.attacker.ipv4}
    backend.load("flush ruleset")
    # Each knows its own grants, and what it found in the kernel: the second adds what the first does not know.
    assert firewall.ensure() is Outcome.RESTORED_DELETED
    assert second.ensure() is Outcome.RESTORED_RELOADED
    assert set(firewall.grants()) == {network.admin.ipv4, network.attacker.ipv4}
    assert firewall.ensure() is second.ensure() is Outcome.KEPT


def test_a_successor_takes_over_the_grants(network: Topology, backend: Inside, firewall: Firewall) -> None:
    firewall.admit(network.admin.ipv4, 30)
    successor = Firewall(backend, RULES)
    assert successor.ensure() is Outcome.ADOPTED
    backend.load("flush ruleset")
    assert successor.ensure() is Outcome.RESTORED_DELETED
    assert 28 <= successor.grants()[network.admin.ipv4] <= 30
    assert gets_in(network.admin, network.server.ipv4)


def test_what_the_operator_took_out_does_not_come_back(network: Topology, backend: Inside, firewall: Firewall) -> None:
    firewall.admit(network.admin.ipv4, 30)
    firewall.admit(network.attacker.ipv4, 30)
    backend.load(f"delete element inet hyperion admitted {{ {network.attacker.ipv4} }}")
    backend.load("flush chain inet hyperion input")
    assert firewall.ensure() is Outcome.RESTORED_EDITED
    assert set(firewall.grants()) == {network.admin.ipv4}


def test_a_full_set_is_an_error_and_holds(network: Topology, backend: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset_module, "SET_SIZE", 4)
    firewall = adopted(backend, RULES)
    for number in range(1, 4):
        firewall.admit(f"192.0.2.{number}", 60)
    firewall.admit("192.0.2.3", 60)  # room for a refresh
    firewall.admit("192.0.2.4", 60)
    with pytest.raises(SetFullError):
        firewall.admit("192.0.2.5", 60)
    assert len(firewall.grants()) == 4


def test_without_a_table_nobody_is_admitted(network: Topology, backend: Inside) -> None:
    firewall = Firewall(backend, RULES)
    for call in (lambda: firewall.admit("192.0.2.1", 5), lambda: firewall.revoke("192.0.2.1"), firewall.grants):
        with pytest.raises(NoSuchObjectError):
            call()
    assert backend.list_text("ruleset") == ""


def test_counters_and_grants_are_no_change_of_the_table(network: Topology, firewall: Firewall) -> None:
    firewall.admit(network.admin.ipv4, 30)
    assert gets_in(network.admin, network.server.ipv4)
    assert not gets_in(network.attacker, network.server.ipv4)
    assert firewall.in_force()
    assert firewall.ensure() is Outcome.KEPT


@pytest.mark.needs("setpriv")
def test_without_the_right_it_says_so(network: Topology, backend: Inside) -> None:
    choice = {"libnftables": "library", "nft": "program"}[backend.name]
    script = (
        "import json, sys\nfrom hyperion.firewall.backend import open_backend\n"
        "from hyperion.knockd.firewall import Firewall\n"
        "from hyperion.firewall.nft import FirewallError\nfrom hyperion.firewall.ruleset import Ruleset\n"
        "try: Firewall(open_backend(sys.argv[1]), Ruleset(1)).ensure()\n"
        "except FirewallError as error: print(json.dumps([error.reason, error.hint]))\n"
    )
    root = Path(__file__).parents[2]
    output = network.server.run(
        *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "env", f"PYTHONPATH={root}"),
        *(sys.executable, "-c", script, choice),
    )
    assert json.loads(output) == ["not-permitted", "it takes root, or CAP_NET_ADMIN"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_100_000_grants_leave_memory_as_it_was(network: Topology) -> None:
    backend = inside(network.server, NftLibrary)
    firewall = network.server.call(lambda: adopted(backend.backend, RULES))
    for number in range(2_000):
        firewall.admit(f"192.0.2.{number % 200}", 60)
    before = resident_bytes()
    for number in range(100_000):
        firewall.admit(f"192.0.2.{number % 200}", 60)
    assert resident_bytes() - before < 10 << 20
    backend.load("flush ruleset")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096
