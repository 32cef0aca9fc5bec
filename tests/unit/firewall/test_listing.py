import copy
import json
import re
from typing import Any

import pytest

from hyperion.firewall.listing import Listing, is_dormant, split_handles
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset
from tests.helpers.fake_nft import objects

RULES = Ruleset(8443)
ONE_SHOT = Ruleset(8443, one_shot=True)


def listing(found: list[dict[str, Any]]) -> Listing:
    return Listing(json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *found]}))


def changed(change: str, rules: Ruleset = RULES) -> list[dict[str, Any]]:
    """A gate with one fault; the names are those of its objects in order."""
    found: list[dict[str, Any]] = copy.deepcopy(objects(rules))
    set4, _, chain, rule4, rule6 = found
    match change:
        case "no set":
            found.remove(set4)
        case "set of IPv6 for IPv4":
            set4["set"]["type"] = "ipv6_addr"
        case "set without timeouts":
            del set4["set"]["flags"]
        case "policy accept":
            chain["chain"]["policy"] = "accept"
        case "another hook":
            chain["chain"]["hook"] = "forward"
        case "no rule for IPv6":
            found.remove(rule6)
        case "another port":
            rule4["rule"]["expr"][0]["match"]["right"] = 80
        case "a set of ports":
            rule4["rule"]["expr"][0]["match"]["right"] = {"set": [8443, 80]}
        case "drop":
            rule4["rule"]["expr"][-1] = {"drop": None}
        case "in a chain that nothing leads to":
            rule4["rule"]["chain"] = "other"
        case "no expressions":
            rule4["rule"]["expr"] = []
        case _:
            found.append({"rule": {"chain": "input", "expr": [{"counter": {"packets": 1}}, {"accept": None}]}})
    return found


def test_a_gate_has_no_complaints() -> None:
    for rules in (RULES, ONE_SHOT):
        assert listing(objects(rules)).complaints(rules) == []
        assert listing(objects(rules)).has_sets(rules)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("no set", "set admitted is missing, or of another kind"),
        ("set of IPv6 for IPv4", "set admitted is missing, or of another kind"),
        ("set without timeouts", "set admitted is missing, or of another kind"),
        ("policy accept", "no chain drops what comes in"),
        ("another hook", "no chain drops what comes in"),
        ("no rule for IPv6", "port 8443 is not opened to set admitted6"),
        ("another port", "port 8443 is not opened to set admitted"),
        ("a set of ports", "port 8443 is not opened to set admitted"),
        ("drop", "port 8443 is not opened to set admitted"),
        ("in a chain that nothing leads to", "port 8443 is not opened to set admitted"),
        ("no expressions", "port 8443 is not opened to set admitted"),
        ("accept everything", "a rule accepts everything"),
    ],
)
def test_each_fault_is_found(change: str, complaint: str) -> None:
    assert listing(changed(change)).complaints(RULES) == [complaint]


def at(right: Any, protocol: str = "tcp") -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": right}}


def state(right: Any) -> dict[str, Any]:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": right}}


FLAGS = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]}
SYN = {"match": {"op": "==", "left": FLAGS, "right": "syn"}}
L4 = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}}
OFFICE = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "198.51.100.7"}}
NOT_LO = {"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}


@pytest.mark.parametrize(
    "matches",
    [
        [at(8443)],
        [at(8443, "th")],
        [at({"range": [8000, 9000]})],
        [at({"set": [22, {"range": [8440, 8450]}]})],
        [at(8443), state("new"), SYN],
        [state(["established", "new"])],
        [L4],
        [NOT_LO],
        [at(8443), NOT_LO],
    ],
)
def test_the_tunnel_port_is_open_to_nobody_else(matches: list[dict[str, Any]]) -> None:
    rule = {"rule": {"chain": "input", "expr": [*matches, {"counter": {"packets": 0}}, {"accept": None}]}}
    assert listing([*objects(RULES), rule]).complaints(RULES) == ["a rule opens port 8443 to everybody"]
    rule["rule"]["expr"] = [*matches, {"drop": None}]
    assert listing([*objects(RULES), rule]).complaints(RULES) == []


@pytest.mark.parametrize(
    "matches",
    [
        [at(22), state("new"), SYN],
        [at({"range": [1, 1023]})],
        [at("@ports")],
        [at(8443), OFFICE],
        [state("established")],
        [state(["established", "related"])],
        [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}],
        [L4, at(9_100)],
    ],
)
def test_other_ports_and_some_sources_are_the_operators_business(matches: list[dict[str, Any]]) -> None:
    rule = {"rule": {"chain": "input", "expr": [*matches, {"accept": None}]}}
    assert listing([*objects(RULES), rule]).complaints(RULES) == []


def test_chains_that_strangers_are_sent_to_are_looked_at_too() -> None:
    def chain(name: str, *expressions: list[Any]) -> list[dict[str, Any]]:
        return [{"rule": {"chain": name, "expr": expression}} for expression in expressions]

    jump, goto = {"jump": {"target": "more"}}, {"goto": {"target": "more"}}
    accept = chain("more", [at(8443), {"accept": None}])
    for way in ([jump], [L4, goto], [NOT_LO, jump]):
        found = listing([*objects(RULES), *chain("input", way), *accept]).complaints(RULES)
        assert found == ["a rule opens port 8443 to everybody"]
    loop = chain("more", [{"jump": {"target": "input"}}], [{"accept": None}])
    ways = chain("input", [jump])
    assert listing([*objects(RULES), *ways, *loop]).complaints(RULES) == ["a rule accepts everything"]
    for way in ([OFFICE, jump], [at(22), goto]):
        assert listing([*objects(RULES), *chain("input", way), *accept]).complaints(RULES) == []
    assert listing([*objects(RULES), *accept]).complaints(RULES) == []  # nobody is sent there


def test_a_table_that_is_switched_off() -> None:
    assert is_dormant("table inet hyperion {\n\tflags dormant\n\n\tset a {\n\t\tflags timeout\n\t}\n}\n")
    assert is_dormant("table inet hyperion {\n\tflags owner,dormant\n}\n")
    assert not is_dormant('table inet hyperion {\n\tcomment "dormant"\n\n\tset a {\n\t\tflags dormant\n\t}\n}\n')


def test_consuming_grants_is_as_wanted_or_a_fault() -> None:
    assert len(listing(objects(RULES)).complaints(ONE_SHOT)) == 2
    assert len(listing(objects(ONE_SHOT)).complaints(RULES)) == 2


def test_an_operators_own_rules_are_welcome() -> None:
    own: list[dict[str, Any]] = [
        {"rule": {"chain": "input", "expr": ["notrack", {"jump": {"target": "more"}}]}},
        {"rule": {"chain": "input", "expr": [{"match": {"left": "x", "right": 1}}, {"accept": None}]}},
        {"chain": {"name": "more"}},
        {"rule": {"chain": "more", "expr": [{"accept": None}]}},
    ]
    assert listing([*objects(RULES), *own]).complaints(RULES) == []


def test_grants_and_what_is_none() -> None:
    found = objects(RULES)
    found[0]["set"]["elem"] = [
        {"elem": {"val": "192.0.2.1", "timeout": 60, "expires": 12}},
        {"elem": {"val": "192.0.2.2", "expires": 0}},
        {"elem": {"val": "192.0.2.3", "comment": "for ever"}},
        {"elem": {"val": "192.0.2.5", "timeout": 0}},
        "192.0.2.4",
        {"prefix": {"addr": "192.0.2.128", "len": 25}},
    ]
    found[1]["set"]["elem"] = [{"elem": {"val": "2001:db8::1", "timeout": 60, "expires": 59}}]
    read = listing(found)
    assert read.grants(RULES) == {"192.0.2.1": 12.0, "192.0.2.2": 0.0, "2001:db8::1": 59.0}


def test_whose_table_it_is() -> None:
    assert listing(objects(RULES)).is_ours(RULES.set)
    assert listing([]).is_ours(RULES.set)
    assert not listing([{"chain": {"name": "input"}}]).is_ours(RULES.set)
    assert not listing(objects(RULES)).is_ours("others")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"nftables": 1}', '{"nftables": [1]}'])
def test_an_answer_that_is_none(text: str) -> None:
    with pytest.raises(FirewallError, match="not JSON"):
        Listing(text)


def test_handles_are_told_apart_from_the_text() -> None:
    text = (
        "table inet hyperion {HANDLE 7\n\tset admitted {HANDLE 2\n\t\ttype ipv4_addr\n\t}\n"
        '\tchain input {HANDLE 1\n\t\taccept comment "x # handle 9"HANDLE 5\n\t}\n}\n'
    )
    plain, handles = split_handles(text.replace("HANDLE", " # handle"))
    assert plain == re.sub(r"HANDLE \d", "", text)
    assert handles == {"hyperion": 7, "admitted": 2}
