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
        case "set of networks":
            set4["set"]["flags"] = ["interval", "timeout"]
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
        ("set of networks", "set admitted is missing, or of another kind"),
        ("policy accept", "no chain drops what comes in"),
        ("another hook", "no chain drops what comes in"),
        ("no rule for IPv6", "port 8443 is not opened to set admitted6"),
        ("another port", "port 8443 is not opened to set admitted"),
        ("a set of ports", "port 8443 is not opened to set admitted"),
        ("drop", "port 8443 is not opened to set admitted"),
        ("in a chain that nothing leads to", "port 8443 is not opened to set admitted"),
        ("no expressions", "port 8443 is not opened to set admitted"),
        ("accept everything", "a rule accepts everything: chain input"),
    ],
)
def test_each_fault_is_found(change: str, complaint: str) -> None:
    assert listing(changed(change)).complaints(RULES) == [complaint]


def match(protocol: str, field: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}}


def at(right: Any) -> dict[str, Any]:
    return match("tcp", "dport", right)


def with_rules(*expressions: list[Any], chain: str = "input") -> list[dict[str, Any]]:
    return [*objects(RULES), *({"rule": {"chain": chain, "expr": expression}} for expression in expressions)]


ACCEPT: dict[str, Any] = {"accept": None}
OPEN_TO_ALL = ["a rule may open port 8443 to everybody: chain input"]


def test_the_tunnel_port_is_open_to_nobody_else() -> None:
    assert listing(with_rules([at(8443), ACCEPT])).complaints(RULES) == OPEN_TO_ALL
    assert listing(with_rules([at(8443), ACCEPT])).faults(RULES) == []
    assert listing(with_rules([at(8443), {"drop": None}], [at(22), ACCEPT])).complaints(RULES) == []
    assert listing(with_rules([at(8443), ACCEPT], chain="other")).complaints(RULES) == []  # nobody is sent there


def test_named_sets_count_as_what_is_in_them_if_only_the_operator_fills_them() -> None:
    def ports(*elements: int, **more: Any) -> dict[str, Any]:
        return {"set": {"name": "ports", "type": "inet_service", "elem": list(elements), **more}}

    rules = with_rules([at("@ports"), ACCEPT])
    assert listing([*rules, ports(22)]).complaints(RULES) == []
    assert listing([*rules, {"set": {"name": "ports", "type": "inet_service"}}]).complaints(RULES) == []
    assert listing([*rules, ports(22, 8443)]).complaints(RULES) == OPEN_TO_ALL
    assert listing([*rules, ports(22, flags=["timeout"])]).complaints(RULES) == OPEN_TO_ALL
    filling = {"rule": {"chain": "input", "expr": [{"set": {"op": "add", "elem": "x", "set": "@ports"}}]}}
    assert listing([*rules, ports(22), filling]).complaints(RULES) == OPEN_TO_ALL


def test_named_maps_count_as_what_is_in_them() -> None:
    for port, expected in ((22, []), (8443, OPEN_TO_ALL)):
        found = with_rules([{"vmap": {"key": at(0)["match"]["left"], "data": "@verdicts"}}])
        found.append({"map": {"name": "verdicts", "map": "verdict", "elem": [[port, ACCEPT]]}})
        assert listing(found).complaints(RULES) == expected


def test_of_a_map_whose_elements_have_a_time_nothing_is_known() -> None:
    """What shuts strangers out today is not there tomorrow."""
    shut = {"vmap": {"key": at(0)["match"]["left"], "data": "@verdicts"}}
    verdicts = {"name": "verdicts", "map": "verdict", "elem": [[8443, {"drop": None}]]}
    for flags, expected in (([], []), (["timeout"], [*OPEN_TO_ALL, "a rule accepts everything: chain input"])):
        rules = [{"rule": {"chain": "input", "expr": [one]}} for one in (shut, ACCEPT)]
        found = [*objects(RULES), *rules, {"map": verdicts | {"flags": flags}}]
        assert listing(found).complaints(RULES) == expected


def test_of_several_chains_one_that_drops_is_enough() -> None:
    def chain(name: str, policy: str) -> dict[str, Any]:
        return {"chain": {"name": name, "type": "filter", "hook": "input", "policy": policy}}

    accepts = {"rule": {"chain": "early", "expr": [ACCEPT]}}
    for early in ("accept", "drop"):
        assert listing([chain("early", early), accepts, *objects(RULES)]).complaints(RULES) == []
    assert listing([chain("early", "drop"), accepts, *with_rules([ACCEPT])]).complaints(RULES) == [
        "a rule accepts everything: chain input"
    ]
    assert listing([chain("early", "drop"), *objects(RULES)]).complaints(RULES) == [
        f"nothing that comes from set {name} gets through: chain early" for name in ("admitted", "admitted6")
    ]
    assert listing([chain("early", "drop"), *changed("policy accept")]).complaints(RULES) == [
        f"port 8443 is not opened to set {name}" for name in ("admitted", "admitted6")
    ]


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
        {"chain": {"name": "more"}},
        {"rule": {"chain": "more", "expr": [match("ip", "saddr", "198.51.100.7"), ACCEPT]}},
        {"rule": {"chain": "more", "expr": [at(9_100), ACCEPT]}},
        {"rule": {"chain": "more", "expr": [at(8443), {"drop": None}]}},
    ]
    assert listing([*objects(RULES), *own]).complaints(RULES) == []


def test_a_rule_that_is_not_understood_is_a_hole() -> None:
    odd = [{"match": {"left": "x", "right": 1}}, ACCEPT]
    assert listing(with_rules(odd)).complaints(RULES) == OPEN_TO_ALL


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
