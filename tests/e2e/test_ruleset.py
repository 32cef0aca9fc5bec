"""The text of the table: loaded by hand, again and again, scanned, and taken back."""

import itertools
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from hyperion.firewall.listing import Listing
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset, remove_text, ruleset_text
from hyperion.firewall.snapshot import comparable, restore_text, table_of
from hyperion.knockd.firewall import Firewall
from tests.helpers.adopted import adopted
from tests.helpers.gate import (
    SCANS,
    SYN,
    TUNNEL_PORT,
    Inside,
    Outgoing,
    connect,
    gets_in,
    scan,
    service,
    udp_scan,
)
from tests.helpers.netns import Host, Topology, topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]
RULES = Ruleset(TUNNEL_PORT, keep_ports=(22,))
OTHERS = """table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 80 counter packets 12 bytes 3456 redirect to :8080
	}
}
table inet mine {
	set blocked {
		type ipv4_addr
		flags interval,timeout
		elements = { 192.0.2.0/24 timeout 1h expires 59m58s, 198.51.100.7 timeout 1h expires 10m }
	}
	map ports {
		type inet_service : verdict
		elements = { 25 : drop, 26 : accept }
	}
	chain forward {
		type filter hook forward priority filter + 10; policy accept;
		ip saddr @blocked drop comment "a, b { c }"
		tcp dport vmap @ports
		limit rate 10/second burst 5 packets log prefix "x expires 5s " accept
	}
}
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Topology]:
    with topology() as network, service(network.server), service(network.server, 22):
        yield network


def listing(host: Host, *what: str) -> str:
    return host.run("nft", "list", *(what or ("ruleset",)))


def test_loading_it_five_times_leaves_one_copy_and_the_grants(network: Topology, nft: Inside) -> None:
    text = ruleset_text(RULES)
    network.server.run("nft", "-f", "-", input=text)
    once = nft.list_text("ruleset")
    firewall = adopted(nft, RULES)
    firewall.admit(network.admin.ipv4, 30)
    firewall.admit(network.admin.ipv6, 30)
    client = connect(network.admin, network.server.ipv4)
    for _ in range(4):
        network.server.run("nft", "-f", "-", input=text)
    assert nft.list_text("ruleset") == once
    left = firewall.grants()
    assert set(left) == {network.admin.ipv4, network.admin.ipv6}
    assert all(20 < seconds <= 30 for seconds in left.values())
    client.sendall(b"still here")
    assert client.recv(100) == b"still here"
    client.close()
    assert gets_in(network.admin, network.server.ipv6)


def test_nft_takes_every_variant_and_each_is_a_gate(nft: Inside) -> None:
    for keep, one_shot, dhcpv6 in itertools.product(((), (22,), (22, 80, 65_535)), (False, True), (False, True)):
        rules = Ruleset(1, "_t" * 15, "s", keep, one_shot=one_shot, dhcpv6=dhcpv6)
        nft.check(ruleset_text(rules))
        assert nft.list_text("ruleset") == ""
        nft.load(ruleset_text(rules))
        loaded = Listing(nft.list_json("table", "inet", rules.table))
        assert loaded.complaints(rules) == []
        kept = re.findall(r"tcp dport (\d+) .* accept comment \"keep-port \1: ", nft.list_text("ruleset"))
        assert tuple(map(int, kept)) == keep
        other = Ruleset(1, rules.table, rules.set, keep, one_shot=not one_shot)
        assert loaded.complaints(other) == ["port 1 is not opened to set s", "port 1 is not opened to set s6"]
        nft.load(remove_text(rules.table))


def test_a_word_of_nfts_own_language_is_an_error_not_a_surprise(nft: Inside) -> None:
    with pytest.raises(FirewallError, match="syntax error, unexpected accept"):
        nft.check(ruleset_text(Ruleset(1, "accept")))


def test_no_scan_gets_an_answer(network: Topology, nft: Inside) -> None:
    """Closed, open and kept ports. Without the table each scan gets one: so the counting works."""
    server, attacker = network.server, network.attacker
    ports = [1, 21, 23, 80, TUNNEL_PORT, 8_444, 51_820, 65_535]
    outgoing = Outgoing(server)
    for address, source in ((server.ipv4, attacker.ipv4), (server.ipv6, attacker.ipv6)):
        assert listing(server) == ""
        for flags in (SCANS["syn"], SCANS["ack"], SCANS["xmas"]):
            scan(attacker, address, ports, flags)
            assert outgoing.towards(source)
        nft.load(ruleset_text(RULES))
        for name, flags in SCANS.items():
            scan(attacker, address, ports, flags)
            assert not outgoing.towards(source), name
        udp_scan(attacker, address, ports)
        assert not outgoing.towards(source)
        # From an admitted source: only a SYN, only to the tunnel port.
        Firewall(nft, RULES).admit(source, 60)
        for name, flags in SCANS.items():
            if flags != SYN:
                scan(attacker, address, ports, flags)
                assert not outgoing.towards(source), f"{name}, admitted"
        udp_scan(attacker, address, ports)
        assert not outgoing.towards(source)
        scan(attacker, address, [port for port in ports if port != TUNNEL_PORT], SYN)
        assert not outgoing.towards(source)
        scan(attacker, address, [TUNNEL_PORT], SYN)
        assert outgoing.towards(source)
        nft.load("flush ruleset")
    outgoing.close()


@pytest.mark.parametrize("version", [4, 6])
def test_path_mtu_discovery_goes_on(network: Topology, nft: Inside, version: int) -> None:
    """The server's packets are too big for the wire behind the router, whose complaint must come in."""
    firewall = adopted(nft, RULES)
    server = network.server.ipv4 if version == 4 else network.server.ipv6
    firewall.admit(network.admin.ipv4 if version == 4 else network.admin.ipv6, 60)
    network.router.ip("link", "set", "to-admin", "mtu", "1300")
    try:
        data = bytes(200_000)
        with connect(network.admin, server, timeout=5) as client:
            # Sent from another thread: what comes back fills the buffers.
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            assert receive(client, len(data)) == len(data)
            sender.join()
    finally:
        network.router.ip("link", "set", "to-admin", "mtu", "1500")
        network.server.ip("route", "flush", "cache")
    if version == 4:
        assert "mtu 1300" not in network.server.ip("route", "get", network.attacker.ipv4)


def receive(client: socket.socket, wanted: int) -> int:
    received = 0
    while received < wanted:
        chunk = client.recv(65_536)
        assert chunk
        received += len(chunk)
    return received


def test_one_table_comes_back_in_its_place_and_the_others_are_not_touched(network: Topology, nft: Inside) -> None:
    """Whatever is in it: maps, chains that are jumped to, objects, grants with their time, counted connections."""
    server = network.server
    firewall = adopted(nft, RULES)
    nft.load(
        "table inet hyperion {\ncounter c { packets 3 bytes 4 }\nquota q { over 10 mbytes }\n"
        "map m { type inet_service : verdict; elements = { 22 : jump other, 23 : drop } }\n"
        'set mine { type ipv4_addr; elements = { 192.0.2.9 comment "a, b }" } }\n'
        "chain other { counter packets 5 bytes 6 return; }\n}\n"
        "insert rule inet hyperion input tcp dport vmap @m\ninsert rule inet hyperion input counter name c"
    )
    server.run("nft", "-f", "-", input=OTHERS)  # after ours in the list
    firewall.admit(network.admin.ipv4, 60)
    firewall.admit("192.0.2.77", 60)
    firewall.admit("192.0.2.78", 2)

    def json() -> str:
        return nft.list_json("table", "inet", "hyperion")

    with connect(network.admin, server.ipv4):  # counted in a set of its own, and listed so
        before = listing(server)
        assert "ct count" in before.partition("elements")[2]
        for changed in (
            restore_text("hyperion", ruleset_text(Ruleset(1, set="another", keep_ports=(80,))), json(), 0),
            "flush table inet hyperion",
            "delete table inet hyperion",
        ):
            nft.load(changed)
            now = None if changed.startswith("delete") else json()
            text = restore_text("hyperion", table_of(before, "hyperion"), now, 5.0)
            nft.check(text)
            nft.load(text)
            if now is None:  # a table that was deleted comes last
                continue
            after = listing(server)
            assert after.index("table inet hyperion") < after.index("table inet mine")
            assert comparable(after, living=False) == comparable(before, living=False)
    assert set(firewall.grants()) == {network.admin.ipv4, "192.0.2.77"}  # the third had no time left
    assert all(50 <= left <= 55 for left in firewall.grants().values())


def test_a_table_that_was_not_there_goes(network: Topology, nft: Inside) -> None:
    server = network.server
    server.run("nft", "-f", "-", input=OTHERS)
    before = listing(server)
    nft.load(ruleset_text(RULES))
    for _ in range(2):
        nft.load(restore_text("hyperion", None, None, 0))
        assert comparable(listing(server)) == comparable(before)
