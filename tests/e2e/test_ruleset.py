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


#: What an operator may have in the gate's chain: none of it lets a stranger in at the tunnel port.
WELCOME = """
tcp dport 22 accept
tcp dport { 22, 80-90, 443 } accept
tcp dport 22 ct state new limit rate 10/minute accept
tcp dport < 1024 accept
tcp dport @ports accept
tcp dport vmap { 22 : accept, 80 : jump own }
tcp dport vmap @verdicts
meta l4proto { tcp, udp } th dport 53 accept
udp dport 51820 accept
meta l4proto { icmp, ipv6-icmp } accept
ip protocol icmp accept
icmp type echo-request limit rate 5/second accept
icmpv6 type { echo-request, nd-neighbor-solicit } accept
ct state established,related accept
ct state { established, related } accept
ct state vmap { established : accept, related : accept, invalid : drop }
ct state invalid drop
iif lo accept
iifname { "wg0", "tailscale0" } accept
ip saddr 198.51.100.7 accept
ip saddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } accept
ip saddr 192.0.2.10-192.0.2.20 accept
ip saddr @trusted tcp dport TUNNEL accept
ip6 saddr { fd00::/8, 2001:db8::/32 } accept
ip saddr . tcp dport { 192.0.2.1 . 22, 192.0.2.2 . TUNNEL } accept
ip saddr @admitted accept
tcp dport 22 jump own
ip saddr 198.51.100.7 goto own
update @seen { ip saddr }
meta nfproto ipv6 reject
"""
HOLES = """
accept
ct state new accept
ct state != invalid accept
ct state vmap { established : accept, new : accept }
ct direction original accept
tcp dport TUNNEL accept
th dport TUNNEL accept
tcp dport != 22 accept
tcp dport >= 1024 accept
tcp dport @open accept
tcp dport vmap { TUNNEL : accept }
tcp dport TUNNEL ct count 1000 accept
tcp sport 1-65535 accept
tcp flags syn accept
tcp flags & syn != 0 accept
tcp flags & (syn | ack) == syn accept
meta nfproto ipv4 accept
meta protocol ip accept
meta l4proto tcp counter accept
meta l4proto != udp accept
meta mark 0 accept
meta length > 0 accept
meta pkttype host accept
ip protocol tcp accept
ip version 4 accept
ip ttl > 0 accept
ip6 nexthdr tcp accept
ip saddr 0.0.0.0/0 accept
ip saddr 0.0.0.0-255.255.255.255 accept
ip saddr { 0.0.0.0/1, 128.0.0.0/1 } accept
ip saddr != 192.0.2.1 accept
ip saddr != @admitted tcp dport TUNNEL accept
ip saddr @seen accept
ip saddr @world accept
ip daddr 10.0.0.0/8 accept
iifname "eth*" accept
iifname != "lo" accept
fib daddr type local accept
limit rate 1000000/second accept
update @seen { ip saddr } accept
jump own
tcp dport TUNNEL goto own
"""
#: What these rules name.
NAMED = f"""table inet hyperion {{
	set ports {{ type inet_service; elements = {{ 22, 80 }}; }}
	set open {{ type inet_service; elements = {{ 22, {TUNNEL_PORT} }}; }}
	set trusted {{ type ipv4_addr; elements = {{ 192.0.2.1 }}; }}
	set world {{ type ipv4_addr; flags interval; elements = {{ 0.0.0.0/0 }}; }}
	set seen {{ type ipv4_addr; size 100; flags dynamic; }}
	chain own {{
		accept
	}}
	map verdicts {{ type inet_service : verdict; elements = {{ 22 : accept, 80 : jump own }}; }}
	chain elsewhere {{
		add @seen {{ ip saddr }}
	}}
}}
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


def complaints(nft: Inside, rule: str) -> list[str]:
    """About the gate with one rule more, first in its chain."""
    table = ruleset_text(RULES) + NAMED
    added = f"insert rule inet hyperion input {rule.replace('TUNNEL', str(TUNNEL_PORT))}\n"
    nft.load(remove_text("hyperion") + table + added)
    return Listing(nft.list_json("table", "inet", "hyperion")).complaints(RULES)


def test_rules_of_an_operator_that_are_welcome(nft: Inside) -> None:
    found = {rule: complaints(nft, rule) for rule in WELCOME.strip().splitlines()}
    assert {rule: said for rule, said in found.items() if said} == {}


def test_rules_that_let_strangers_in_are_found_whatever_they_look_like(nft: Inside) -> None:
    found = {rule: complaints(nft, rule) for rule in HOLES.strip().splitlines()}
    assert [rule for rule, said in found.items() if not said] == []
    assert all("chain " in said for complaint in found.values() for said in complaint)


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
