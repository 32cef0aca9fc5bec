"""Gates with something before, behind or beside the rules that open them."""

from typing import Any

import pytest

from hyperion.firewall.judgement import Judgement
from hyperion.firewall.narrow import Json
from hyperion.firewall.ruleset import Ruleset
from tests.helpers.fake_nft import objects

RULES = Ruleset(8443)
ONE_SHOT = Ruleset(8443, one_shot=True)
PORT, SOURCE = {"payload": {"protocol": "tcp", "field": "dport"}}, {"payload": {"protocol": "ip", "field": "saddr"}}
SOURCE6 = {"payload": {"protocol": "ip6", "field": "saddr"}}
ACCEPT: Json = {"accept": None}
DROP: Json = {"drop": None}
JUMP: Json = {"jump": {"target": "more"}}
BEFORE = "a rule comes before the one that opens port 8443 to set"


def match(left: Json, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


NEW = match({"ct": {"key": "state"}}, "new", "in")
IPV6 = match({"meta": {"key": "nfproto"}}, "ipv6")


def judged(
    *first: list[Json],
    last: tuple[list[Json], ...] = (),
    more: tuple[list[Json], ...] = (),
    chains: tuple[Json, ...] = (),
    rules: Ruleset = RULES,
) -> Judgement:
    """A gate with these rules in front of its own, these behind them, these in a chain that they may lead to, and
    further chains; the first rule has the number 0."""
    gate = objects(rules)
    own = [item["rule"] for item in gate if "rule" in item]
    found: list[Json] = [{"chain": "input", "handle": number, "expr": one} for number, one in enumerate(first)]
    found += own
    found += [{"chain": "input", "handle": "last", "expr": one} for one in last]
    found += [{"chain": "more", "handle": "more", "expr": one} for one in more]
    found += [{"chain": chain["name"], "handle": "there", "expr": one} for chain in chains for one in chain["rules"]]
    return Judgement(
        rules, [item["chain"] for item in gate if "chain" in item] + [{"name": "more"}, *chains], found, {}, {}
    )


def chain(name: str, hook: str, *rules: list[Json], policy: str = "accept") -> Json:
    return {"name": name, "type": "filter", "hook": hook, "policy": policy, "rules": rules}


@pytest.mark.parametrize("rules", [RULES, ONE_SHOT])
def test_a_gate(rules: Ruleset) -> None:
    judgement = judged([match(PORT, 22), ACCEPT], last=([{"counter": None}, DROP],), rules=rules)
    assert (judgement.faults(), judgement.holes(), judgement.cautions()) == ([], [], [])


@pytest.mark.parametrize(
    "expression",
    [
        [DROP],
        [{"counter": None}, {"reject": None}],
        [NEW, DROP],
        [match(PORT, {"range": [1024, 65535]}), DROP],
        [match(PORT, 22, "!="), {"return": None}],
        [{"goto": {"target": "more"}}],
        [NEW, {"vmap": {"key": PORT, "data": {"set": [[22, ACCEPT], [8443, DROP]]}}}],
    ],
)
def test_a_gate_that_never_opens(expression: list[Json]) -> None:
    assert judged(expression).faults() == [
        f"{BEFORE} {name}: chain input, handle 0" for name in ("admitted", "admitted6")
    ]
    # Behind the rules that open it the same does no harm.
    assert judged(last=(expression,)).faults() == []


def test_one_that_never_opens_because_of_a_chain_it_leads_to() -> None:
    assert judged([JUMP], more=([DROP],)).faults()[0] == f"{BEFORE} admitted: chain more, handle more"
    assert judged([JUMP], more=([match(PORT, 22), DROP],)).faults() == []
    assert judged([JUMP], more=([{"return": None}], [DROP])).faults() == []


@pytest.mark.parametrize(
    "expression",
    [
        [match(SOURCE, "192.0.2.1"), DROP],
        [match(SOURCE, "@banned"), DROP],
        [match({"meta": {"key": "iifname"}}, "eth1"), DROP],
        [match({"ct": {"key": "state"}}, ["invalid"], "in"), DROP],
        [match({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn"]]}, "syn", "!="), NEW, DROP],
        [{"limit": {"rate": 5, "inv": True}}, DROP],
        [match(PORT, 22, "=="), DROP],
    ],
)
def test_what_keeps_out_some_only(expression: list[Json]) -> None:
    assert judged(expression).faults() == []


def test_a_version_of_ip_that_is_shut_out_is_told_and_no_more() -> None:
    judgement = judged([IPV6, DROP])
    assert (judgement.faults(), judgement.holes()) == ([], [])
    assert judgement.cautions() == [f"{BEFORE} admitted6: chain input, handle 0"]


@pytest.mark.parametrize(
    "other",
    [
        chain("early", "input", policy="drop"),
        chain("early", "input", [match(PORT, 22), ACCEPT], policy="drop"),
        chain("early", "input", [NEW, DROP]),
        chain("early", "prerouting", [match(PORT, 22, "!="), DROP]),
    ],
)
def test_another_chain_on_the_way_that_lets_nobody_through(other: Json) -> None:
    faults = judged(chains=(other,)).faults()
    assert len(faults) == len([one for one in faults if one.startswith("nothing that comes from set admitted")]) > 0


@pytest.mark.parametrize(
    "other",
    [
        chain("early", "input", [match(PORT, 8443), ACCEPT], policy="drop"),
        chain("early", "prerouting", [match(SOURCE, "192.0.2.1"), DROP]),
        chain("forward", "forward", policy="drop"),
        chain("output", "output", [DROP], policy="drop"),
    ],
)
def test_another_chain_that_does(other: Json) -> None:
    assert judged(chains=(other,)).faults() == []
    assert judged(chains=(other,)).holes() == []


def test_holes_in_their_order() -> None:
    hole = "a rule may open port 8443 to everybody: chain input, handle"
    assert judged([match(PORT, 8443), ACCEPT], [NEW, ACCEPT]).holes() == [f"{hole} 0"]
    assert judged([NEW, ACCEPT], [ACCEPT]).holes() == [f"{hole} 0", "a rule accepts everything: chain input, handle 1"]
    assert judged([match(SOURCE, "@admitted", "!="), ACCEPT]).holes() == [f"{hole} 0"]
    assert judged(last=([DROP], [ACCEPT])).holes() == []
    assert judged(last=([match(PORT, 8443), DROP], [ACCEPT])).holes() == []
    assert judged(last=([NEW, DROP], [ACCEPT])).holes() == ["a rule accepts everything: chain input, handle last"]
    assert judged([JUMP, DROP], more=([ACCEPT],)).holes() == ["a rule accepts everything: chain more, handle more"]


@pytest.mark.parametrize("where", ["more", "prerouting"])
@pytest.mark.parametrize("op", ["add", "update"])
def test_who_admits_himself(where: str, op: str) -> None:
    fills = [match(PORT, 8443), {"set": {"op": op, "elem": SOURCE6, "set": "@admitted6"}}]
    found = judged(more=(fills,)) if where == "more" else judged(chains=(chain("early", where, fills),))
    (hole,) = found.holes()
    assert hole.startswith("a rule lets a packet put its sender into set admitted6: chain")
    others = [match(PORT, 8443), {"set": {"op": op, "elem": SOURCE6, "set": "@seen"}}]
    assert judged(others).holes() == []


@pytest.mark.parametrize(
    ("key", "is_hole"),
    [
        (PORT, True),
        (SOURCE, True),
        ({"payload": {"base": "th", "offset": 16, "len": 16}}, True),
        ({"payload": {"protocol": "ip", "field": "dscp"}}, False),
        ({"payload": {"protocol": "ip", "field": "protocol"}}, True),
        ({"tcp option": {"name": "maxseg", "field": "size"}}, False),
        ({"meta": {"key": "mark"}}, False),
        ("x", False),
    ],
)
def test_who_becomes_somebody_else(key: Any, is_hole: bool) -> None:
    holes = judged([match(PORT, 22), {"mangle": {"key": key, "value": 8443}}, ACCEPT]).holes()
    assert holes == (["a rule rewrites where a packet goes to or comes from: chain input, handle 0"] if is_hole else [])


@pytest.mark.parametrize(("hook", "is_hole"), [("input", True), ("prerouting", False)])
def test_who_comes_by_another_sender(hook: str, is_hole: bool) -> None:
    other = chain("other", hook, [{"snat": {"addr": "192.0.2.9"}}]) | {"type": "nat"}
    told = "a rule rewrites where a packet goes to or comes from: chain other, handle there"
    assert judged(chains=(other,)).holes() == ([told] if is_hole else [])


def test_a_chain_for_nat_is_no_gate() -> None:
    gate = objects(RULES)
    chains = [item["chain"] | {"type": "nat"} for item in gate if "chain" in item]
    judgement = Judgement(RULES, chains, [item["rule"] for item in gate if "rule" in item], {}, {})
    assert judgement.faults() == ["no chain drops what comes in"]


def test_a_grant_that_is_not_used_up() -> None:
    again = [match(PORT, 8443), match(SOURCE, "@admitted"), ACCEPT]
    assert judged(again, rules=ONE_SHOT).holes() == [
        "a rule lets set admitted in without using the grant up: chain input, handle 0"
    ]
    assert judged(again).holes() == []


def test_who_knocked_gets_more_than_the_port() -> None:
    assert judged([match(SOURCE, "@admitted"), ACCEPT]).cautions() == [
        "a rule opens more than port 8443 to set admitted: chain input, handle 0"
    ]
    assert judged([match(PORT, 22), match(SOURCE, "@admitted"), ACCEPT]).cautions() == []


def test_who_is_answered_sees_that_somebody_is_here() -> None:
    told = "a rule answers strangers at port 8443, so they see that somebody is here: chain"
    assert judged(last=([{"reject": None}],)).cautions() == [f"{told} input, handle last"]
    early = chain("early", "prerouting", [NEW, match(SOURCE, "@admitted", "!="), {"reject": None}])
    assert judged(chains=(early,)).cautions() == [f"{told} early, handle there"]
    assert judged([match(PORT, 22), {"reject": None}], last=([DROP], [{"reject": None}])).cautions() == []
