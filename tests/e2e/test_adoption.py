"""Tables that an operator made or changed: which are adopted, and that what is said of them is so in the kernel."""

import random
import time
from collections.abc import Sequence

import pytest

from hyperion.firewall.listing import Listing
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset, admit_text, parse_source, ruleset_text
from hyperion.knockd.firewall import Firewall, Outcome, TableMissingError, TableWrongError
from tests.helpers.gate import SYN, TUNNEL_PORT, Inside, Outgoing, gets_in, reaches, scan
from tests.helpers.netns import Topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.usefixtures("listening")]

RULES = Ruleset(TUNNEL_PORT)
P = TUNNEL_PORT
USUAL = "tcp flags & (fin | syn | rst | ack)"
#: Everybody ends there.
LAST_WORDS = (
    *("drop", "reject", "counter reject with icmpx admin-prohibited", "return", "goto dead", "jump dead", "goto empty"),
    *(f"tcp dport {P} drop", "tcp dport 1024-65535 drop", "tcp dport != 22 return", "meta l4proto tcp drop"),
    *(
        f"tcp dport vmap {{ 22 : accept, {P} : drop }}",
        f"tcp dport vmap {{ {P} : goto dead }}",
        "meta l4proto != udp drop",
    ),
    *(f"tcp dport {{ 22, {P} }} jump dead", f"th dport {P} drop", "tcp dport >= 1024 drop"),
)
#: Who was admitted ends there, and other strangers may not.
LAST_WORDS_FOR_GUESTS = (
    *("ct state new drop", "ct state != established drop", "ct state { new, invalid } drop", 'iifname != "lo" drop'),
    *(f"{USUAL} == syn drop", "tcp flags syn drop", "ct state vmap { established : accept, new : drop }"),
    *("ip saddr @admitted drop", "ip saddr @admitted return", "meta nfproto ipv4 drop"),
    *("ip6 saddr @admitted6 drop", "meta nfproto ipv6 drop", "ct state new jump dead"),
)
#: All who come, but from the rule alone that cannot be known.
WHO_KNOWS = ("ip ttl > 0 drop", 'iifname "eth0" drop')
HOLES = (
    *("accept", f"tcp dport {P} accept", "ct state new accept", "tcp dport >= 1024 accept", "jump open", "goto open"),
    *(
        f"ip saddr != @admitted tcp dport {P} accept",
        "meta l4proto vmap { tcp : accept, udp : drop }",
        "ip ttl > 1 accept",
    ),
    *(f"tcp dport {P} add @admitted {{ ip saddr timeout 30s }}", f"tcp dport {{ 22, {P} }} goto open", "jump inner"),
    *(f"{USUAL} == syn accept", 'iifname "eth*" accept', f"tcp dport vmap {{ {P} : jump open }}", "jump back"),
    *("ct state != invalid accept", "limit rate 1000/second accept", "ip protocol tcp accept", "meta mark 0 accept"),
)
HARMLESS = (
    *(
        "ip saddr 192.0.2.0/24 drop",
        "ct state invalid drop",
        "tcp dport 22 accept",
        "jump empty",
        "udp dport 53 accept",
    ),
    *(f"{USUAL} != syn ct state new drop", "limit rate over 100000/second drop", "counter", "tcp dport < 1024 reject"),
    *("tcp dport vmap { 22 : accept, 80 : drop }", "icmp type echo-request accept", 'iifname "wg0" accept'),
    *("ip saddr 192.0.2.1 accept", "ct state established,related accept", "tcp dport 22 jump open", "udp dport 1 drop"),
    *('log prefix "x "', "ip saddr @admitted counter", "meta l4proto udp goto dead"),
)
CHAINS = (
    "chain empty {\n}\nchain dead {\ncounter drop\n}\nchain back {\ntcp dport 1 return\naccept\n}\n"
    f"chain open {{\ntcp dport {P} accept\n}}\nchain inner {{\ntcp dport 22 return\njump open\n}}\n"
)
#: Before which of the rules that are printed: the first, those that open the port for IPv4, for IPv6, the last.
PLACES = ("", "index 7", "index 9", "index 11")


def test_the_operators_own_table_is_adopted_with_every_rule(network: Topology, backend: Inside) -> None:
    cautious = Firewall(backend, RULES)
    with pytest.raises(TableMissingError, match="no firewall table"):
        cautious.ensure()
    backend.load(ruleset_text(Ruleset(TUNNEL_PORT, keep_ports=(22,))))
    backend.load('insert rule inet hyperion input tcp dport 9100 accept comment "mine"')
    before = backend.list_text("table", "inet", "hyperion")
    assert cautious.ensure() is Outcome.ADOPTED
    backend.load("flush ruleset")
    assert cautious.ensure() is Outcome.RESTORED_DELETED
    assert backend.list_text("table", "inet", "hyperion") == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("add table inet hyperion { flags dormant; }", "dormant"),
        (f"insert rule inet hyperion input tcp dport {TUNNEL_PORT} accept", "to everybody"),
        ("insert rule inet hyperion input ct state new accept", "to everybody"),
        ("insert rule inet hyperion input ct state != invalid accept", "to everybody"),
        ("insert rule inet hyperion input tcp dport >= 1024 accept", "to everybody"),
        ("insert rule inet hyperion input tcp flags syn accept", "to everybody"),
        (f"insert rule inet hyperion input tcp dport vmap {{ {TUNNEL_PORT} : accept }}", "to everybody"),
        (
            (
                f"add set inet hyperion open {{ type inet_service; elements = {{ {TUNNEL_PORT} }}; }}\n"
                "insert rule inet hyperion input tcp dport @open accept"
            ),
            "to everybody",
        ),
        ('insert rule inet hyperion input iifname != "lo" accept', "to everybody"),
        ("insert rule inet hyperion input ip saddr != 192.0.2.1 tcp dport 1-9999 accept", "to everybody"),
        (
            (
                "add chain inet hyperion more\nadd rule inet hyperion more accept\n"
                "insert rule inet hyperion input meta l4proto tcp jump more"
            ),
            "accepts everything",
        ),
        (
            (
                f"add chain inet hyperion more\nadd rule inet hyperion more tcp dport {TUNNEL_PORT} accept\n"
                "add chain inet hyperion first\nadd rule inet hyperion first goto more\n"
                "insert rule inet hyperion input jump first"
            ),
            "to everybody",
        ),
        (
            f"insert rule inet hyperion input tcp dport {TUNNEL_PORT} add @admitted {{ ip saddr timeout 30s }}",
            "put its sender into set admitted",
        ),
    ],
)
def test_a_gate_that_stands_open_is_not_adopted(
    network: Topology, backend: Inside, firewall: Firewall, change: str, complaint: str
) -> None:
    assert not gets_in(network.attacker, network.server.ipv4)
    backend.load(change)
    assert gets_in(network.attacker, network.server.ipv4)
    with pytest.raises(TableWrongError, match=complaint) as caught:
        Firewall(backend, RULES).ensure()
    assert caught.value.hint
    backend.load(ruleset_text(RULES))  # the operator's step: what print-firewall prints
    backend.load("flush set inet hyperion admitted")  # whoever put himself in
    assert Firewall(backend, RULES).ensure() is Outcome.ADOPTED
    assert not gets_in(network.attacker, network.server.ipv4)


#: The rule that everybody else ends at.
ELSE = 'counter drop comment "everything else, in silence"'


@pytest.mark.parametrize(
    ("more", "changes", "complaint"),
    [
        # nft leaves the condition out where the answer says the same.
        ("", {ELSE: "meta nfproto ipv6 reject with icmpv6 admin-prohibited\naccept"}, "accepts everything"),
        (
            (
                "map brief {\ntype inet_service : verdict\nflags timeout\n"
                f"elements = {{ {TUNNEL_PORT} timeout 1s : drop }}\n}}"
            ),
            {ELSE: "tcp dport vmap @brief\naccept"},
            "to everybody",
        ),
        # Such a chain sees nobody who is not tracked.
        (
            (
                f"chain early {{\ntype filter hook prerouting priority raw\ntcp dport {TUNNEL_PORT} notrack\n}}\n"
                f"chain out {{\ntype filter hook output priority raw\ntcp sport {TUNNEL_PORT} notrack\n}}"
            ),
            {"type filter hook input priority filter": "type nat hook input priority 100"},
            "no chain drops",
        ),
        (
            "chain other {\ntype nat hook input priority 100\nsnat ip to 192.0.2.9\n}",
            {"priority filter": "priority 200", ELSE: "ip saddr 192.0.2.9 accept"},
            "rewrites",
        ),
    ],
    ids=["reject", "time", "nat", "snat"],
)
def test_a_gate_that_only_looks_shut_is_not_adopted(
    network: Topology, backend: Inside, more: str, changes: dict[str, str], complaint: str
) -> None:
    text = ruleset_text(RULES)
    for what, instead in changes.items():
        assert what in text
        text = text.replace(what, instead)
    backend.load(f"table inet hyperion {{\n{more}\n}}\n{text}")
    with pytest.raises(TableWrongError, match=complaint):
        Firewall(backend, RULES).ensure()
    deadline = time.monotonic() + 10
    while not gets_in(network.attacker, network.server.ipv4):
        assert time.monotonic() < deadline, "the test shows nothing"


def test_a_table_that_is_mended_while_it_is_judged(
    network: Topology, backend: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its listing for people, which is what would be put back, and the one that is judged."""
    backend.load(ruleset_text(RULES) + "insert rule inet hyperion input accept\n")
    todo, list_json = [ruleset_text(RULES)], backend.list_json

    def meddle(*what: str) -> str:
        while todo:
            backend.load(todo.pop())
        return list_json(*what)

    monkeypatch.setattr(backend, "list_json", meddle)
    firewall = Firewall(backend, RULES)
    assert [firewall.ensure() for _ in range(2)] == [Outcome.ADOPTED, Outcome.KEPT]
    assert not gets_in(network.attacker, network.server.ipv4)


def test_a_rule_that_rewrites_ports_opens_the_gate_by_another_one(network: Topology, backend: Inside) -> None:
    backend.load(ruleset_text(RULES))
    backend.load(f"insert rule inet hyperion input tcp dport 9100 tcp dport set {TUNNEL_PORT} accept")
    answers = Outgoing(network.server)
    scan(network.attacker, network.server.ipv4, [9_100], SYN)
    assert len(answers.towards(network.attacker.ipv4)) >= 1, "the test shows nothing"
    answers.close()
    with pytest.raises(TableWrongError, match="rewrites"):
        Firewall(backend, RULES).ensure()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("insert rule inet hyperion input ct state new drop", "a rule comes before .* chain input, handle"),
        (
            f"insert rule inet hyperion input index 7 tcp dport {TUNNEL_PORT} drop",
            "a rule comes before .*chain input, handle",
        ),
        (
            (
                "add chain inet hyperion more\nadd rule inet hyperion more return\n"
                "insert rule inet hyperion input goto more"
            ),
            "a rule comes before",
        ),
        (
            (
                "add chain inet hyperion first { type filter hook input priority -10; policy drop; }\n"
                "add rule inet hyperion first tcp dport 22 accept"
            ),
            "nothing that comes from set admitted gets through: chain first",
        ),
        (
            (
                "add chain inet hyperion raw { type filter hook prerouting priority raw; }\n"
                "add rule inet hyperion raw ip saddr 192.0.2.1 accept\n"
                "add rule inet hyperion raw meta l4proto tcp drop"
            ),
            "nothing that comes from set admitted gets through: chain raw, handle",
        ),
    ],
)
def test_a_gate_that_never_opens_is_not_adopted(
    network: Topology, backend: Inside, change: str, complaint: str
) -> None:
    backend.load(ruleset_text(RULES))
    backend.load(change)
    with pytest.raises(TableWrongError, match=complaint) as caught:
        Firewall(backend, RULES).ensure()
    assert caught.value.hint
    backend.load(admit_text(RULES, parse_source(network.admin.ipv4), 60))
    assert not gets_in(network.admin, network.server.ipv4)


def test_what_may_not_be_meant_is_told_of_a_gate_that_works(network: Topology, backend: Inside) -> None:
    backend.load(ruleset_text(RULES))
    backend.load(
        "insert rule inet hyperion input meta nfproto ipv6 tcp dport != 22 drop\n"
        "insert rule inet hyperion input ip saddr @admitted accept\n"
        "insert rule inet hyperion input index 12 reject with icmpx admin-prohibited"
    )
    firewall = Firewall(backend, RULES)
    assert firewall.ensure() is Outcome.ADOPTED
    told = ("a rule opens more than port", "a rule comes before", "a rule answers strangers")
    assert all(sum(one.startswith(what) for one in firewall.cautions) == 1 for what in told), firewall.cautions
    firewall.admit(network.admin.ipv4, 60)
    assert gets_in(network.admin, network.server.ipv4)


def test_a_table_of_somebody_else_is_left_alone(network: Topology, backend: Inside) -> None:
    backend.load("table inet hyperion { chain theirs { type filter hook input priority 0; tcp dport 80 accept\n}\n}")
    before = backend.list_text("ruleset")
    with pytest.raises(TableWrongError, match="belongs to somebody else") as caught:
        Firewall(backend, RULES).ensure()
    assert caught.value.hint
    assert backend.list_text("ruleset") == before


def test_a_table_of_the_original_is_no_gate(network: Topology, backend: Inside) -> None:
    backend.load(
        "table inet hyperion { set admitted { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 50s }; }\n"
        "chain input { type filter hook input priority 0; policy drop; ct state established,related accept\n"
        f"iif lo accept\nip saddr @admitted tcp dport {TUNNEL_PORT} accept\n}}\n}}"
    )
    with pytest.raises(TableWrongError, match="admitted6"):
        Firewall(backend, RULES).ensure()


def put_together(chance: random.Random) -> str:
    """Commands that change a gate in one to three places, some with another chain in front of it."""
    pool = (*LAST_WORDS, *LAST_WORDS_FOR_GUESTS, *WHO_KNOWS, *HOLES, *HARMLESS, *HARMLESS)
    commands = [f"table inet {RULES.table} {{\n{CHAINS}}}"]
    for rule in chance.sample(pool, chance.choice((1, 1, 2, 3))):
        place = chance.choice((*PLACES, "last"))
        verb = "add rule" if place == "last" else "insert rule"
        commands.append(f"{verb} inet {RULES.table} input {'' if place == 'last' else place} {rule}")
    if chance.random() < 0.3:
        hook, policy = chance.choice(("input", "prerouting")), chance.choice(("accept", "accept", "drop"))
        head = f"type filter hook {hook} priority {chance.choice((-10, 10))}; policy {policy};"
        commands.append(f"table inet {RULES.table} {{ chain early {{ {head} }}\n}}")
        commands += [f"add rule inet {RULES.table} early {rule}" for rule in chance.sample(pool, 2)]
    return "\n".join(commands)


def load(nft: Inside, commands: str) -> bool:
    nft.load(f"flush ruleset\n{ruleset_text(RULES)}")
    try:
        nft.load(commands)
    except FirewallError:
        return False  # in that place the kernel does not take it
    return True


def admitted(network: Topology) -> Sequence[str]:
    return network.admin.ipv4, network.admin.ipv6


@pytest.mark.parametrize("times", [30, pytest.param(600, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_what_is_said_of_a_table_is_so(network: Topology, nft: Inside, times: int) -> None:
    chance, judged, opened, shut = random.Random(times), 0, 0, 0
    while judged < times:
        commands = put_together(chance)
        if not load(nft, commands):
            continue
        judged += 1
        listing = Listing(nft.list_json("table", "inet", RULES.table))
        faults, holes, cautions = listing.faults(RULES), listing.holes(RULES), listing.cautions(RULES)
        told = f"{commands}\nfaults {faults}\nholes {holes}\ncautions {cautions}"
        targets = network.server.ipv4, network.server.ipv6
        strangers = [reaches(network.attacker, target) for target in targets]
        assert holes or not any(strangers), f"a stranger gets in\n{told}"
        if any(strangers):
            opened += 1
            continue
        for source in admitted(network):
            nft.load(admit_text(RULES, parse_source(source), 30))
        guests = [reaches(network.admin, target) for target in targets]
        assert not (faults and any(guests)), f"who was admitted gets in\n{told}"
        known = faults or cautions or holes or any(rule in commands for rule in WHO_KNOWS)
        assert all(guests) or known, f"who was admitted does not get in\n{told}"
        shut += not all(guests)
    print(f"{times} tables: {opened} open to strangers, {shut} shut to who was admitted")
    assert min(opened, shut) > 0
