"""Rules as a whole, their order, and the chains that they lead to."""

from typing import Any

import pytest

from hyperion.firewall.narrow import Json
from hyperion.firewall.packet import Packet, Why
from hyperion.firewall.walk import Passage, Table

PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
STATE = {"ct": {"key": "state"}}
SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
ACCEPT: Json = {"accept": None}
DROP: Json = {"drop": None}
RETURN: Json = {"return": None}
JUMP, GOTO = {"jump": {"target": "more"}}, {"goto": {"target": "more"}}
STRANGER = Packet(8443, frozenset({"@admitted"}), {})
GUEST = Packet(8443, frozenset({"@admitted"}), {}, guest_of="@admitted", version=4)


def at(port: Any) -> Json:
    return {"match": {"op": "==", "left": PORT, "right": port}}


def choice(key: Json, *pairs: Any) -> Json:
    return {"vmap": {"key": key, "data": {"set": list(pairs)}}}


def named(name: str) -> Json:
    return {"match": {"op": "==", "left": SOURCE, "right": f"@{name}"}}


def passage(*expressions: Any, more: Any = (ACCEPT,), packet: Packet = STRANGER) -> Passage:
    """Through rules with these expressions, the first of which has the number 0, and a chain that they may lead to."""
    rules: list[Json] = [
        *({"chain": "input", "handle": number, "expr": list(one)} for number, one in enumerate(expressions)),
        {"chain": "more", "handle": "more", "expr": list(more)},
    ]
    maps: dict[str, list[Any]] = {
        "open": [[22, ACCEPT], [8443, ACCEPT]],
        "shut": [[22, ACCEPT], [{"elem": {"val": 23}}, JUMP]],
    }
    return Table(["input", "empty"], rules, maps).passage("input", packet)


def takes(*expressions: Any, more: Any = (ACCEPT,), packet: Packet = STRANGER) -> list[Any]:
    """The numbers of the rules that may take it in."""
    return [step.rule["handle"] for step in passage(*expressions, more=more, packet=packet).takes]


@pytest.mark.parametrize(
    "expression",
    [
        [ACCEPT],
        ["accept"],
        [{"counter": None}, {"limit": {"rate": 1_000}}, ACCEPT],
        [at(8443), {"ct count": {"val": 1_000}}, ACCEPT],
        [at(8443), {"queue": {"num": 0}}],
        [{"xt": None}],
        [{"synproxy": {"mss": 1460}}],
        [{"match": "x"}, ACCEPT],
        [choice(PORT, [22, ACCEPT], [8443, ACCEPT])],
        [choice(PORT, [22, {"drop": None}], ["*", ACCEPT])],
        [choice(PORT, [8443, {"queue": None}])],
        [choice(STATE, ["established", ACCEPT], ["new", ACCEPT])],
        [choice(SOURCE, *([{"prefix": {"addr": f"{one}.0.0.0", "len": 8}}, ACCEPT] for one in range(1, 9)))],
        # The choice comes first, whatever its rule asks for afterwards.
        [choice(PORT, [8443, ACCEPT]), at(22), ACCEPT],
        [choice(PORT, ACCEPT)],
        [{"vmap": {"key": PORT, "data": "@open"}}],
        [{"vmap": {"key": PORT, "data": "@unknown"}}],
        [{"vmap": "x"}],
        [{"jump": {"target": "unknown"}}],
        [{"jump": None}],
    ],
)
def test_a_rule_that_takes_strangers_in(expression: Any) -> None:
    assert takes(expression) == [0]


@pytest.mark.parametrize("way", [[JUMP], ["notrack", GOTO], [at(8443), JUMP], [choice(PORT, [8443, GOTO])]])
def test_chains_that_strangers_are_sent_to(way: Any) -> None:
    assert takes(way) == ["more"]
    assert takes(way, more=[at(8443), ACCEPT]) == ["more"]
    assert takes(way, more=[at(22), ACCEPT]) == []
    assert takes(way, more=[{"jump": {"target": "input"}}]) == []  # a loop


@pytest.mark.parametrize(
    "expression",
    [
        [],
        [{"drop": None}],
        [{"reject": None}, ACCEPT],
        [{"counter": None}, {"log": None}, {"mangle": {}}, "notrack"],
        [at(22), ACCEPT],
        [{"counter": "named"}, at(22), {"log": None}, ACCEPT],
        [at(22), JUMP],
        [{"jump": {"target": "empty"}}],
        [choice(PORT, [22, ACCEPT], [80, JUMP], ["*", {"drop": None}])],
        [choice(STATE, ["established", ACCEPT], ["related", ACCEPT], ["invalid", {"drop": None}])],
        [choice(SOURCE, ["192.0.2.1", ACCEPT], [{"prefix": {"addr": "10.0.0.0", "len": 8}}, ACCEPT])],
        [at(22), choice(SOURCE, ["*", ACCEPT])],
        [{"vmap": {"key": PORT, "data": "@shut"}}],
    ],
)
def test_a_rule_that_takes_no_stranger_in(expression: Any) -> None:
    assert takes(expression) == []


def test_however_many_ways_lead_to_a_rule_it_is_told_once() -> None:
    rules: list[Json] = [
        {"chain": str(level), "expr": [{"jump": {"target": str(level + 1)}}]} for level in range(16) for _ in range(8)
    ]
    rules.append({"chain": "16", "expr": [at(8443), {"limit": {"rate": 1}}, ACCEPT]})
    assert len(Table([], rules, {}).passage("0", STRANGER).takes) == 1


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        # What a stranger surely meets, and that says a last word.
        ([[DROP], [ACCEPT]], []),
        ([[at(8443), {"counter": None}, {"log": None}, DROP], [ACCEPT]], []),
        ([[at({"set": [22, {"range": [8000, 9000]}]}), {"reject": None}], [ACCEPT]], []),
        ([[{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, RETURN], [ACCEPT]], []),
        ([[choice(PORT, [22, ACCEPT], [8443, DROP])], [ACCEPT]], []),
        ([[{"goto": {"target": "empty"}}], [ACCEPT]], []),
        ([[{"jump": {"target": "more"}}], [ACCEPT]], ["more"]),
        # What he may not meet, or that lets the next rule have its say.
        ([[at(22), DROP], [ACCEPT]], [1]),
        ([[{"match": {"op": "in", "left": STATE, "right": "new"}}, DROP], [ACCEPT]], [1]),
        ([[named("admitted"), DROP], [ACCEPT]], [1]),
        ([[{"match": {"op": "!=", "left": SOURCE, "right": "192.0.2.1"}}, DROP], [ACCEPT]], [1]),
        ([[{"limit": {"rate": 5}}, DROP], [ACCEPT]], [1]),
        ([[{"reject": {"type": "icmpv6", "expr": "port-unreachable"}}], [ACCEPT]], [1]),
        ([[{"xt": None}, DROP], [ACCEPT]], [0, 1]),
        ([["continue"], [ACCEPT]], [1]),
        ([[{"jump": {"target": "empty"}}], [ACCEPT]], [1]),
        ([[choice(PORT, [22, ACCEPT], ["*", DROP])], [ACCEPT]], [1]),
        ([[choice(PORT, [8443, {"continue": None}])], [ACCEPT]], [1]),
    ],
)
def test_behind_a_last_word_nothing_counts(rules: Any, expected: Any) -> None:
    assert takes(*rules) == expected


@pytest.mark.parametrize(
    ("more", "comes_back"),
    [([DROP], False), ([RETURN], True), ([at(8443), RETURN], True), ([at(22), DROP], True), ([ACCEPT], False)],
)
def test_who_comes_back_from_a_chain_goes_on_where_it_was_called(more: Any, comes_back: bool) -> None:
    found = passage([JUMP], [at(8443), {"queue": None}], more=more)
    assert ([step.verb for step in found.takes][-1:] == ["queue"]) == comes_back
    assert found.falls is False
    assert passage([GOTO], [ACCEPT], more=more).falls is comes_back


def test_the_rule_that_the_way_ends_at_is_named() -> None:
    def end(*expressions: Any, more: Any = ()) -> Any:
        found = passage(*expressions, more=more).end
        return None if found is None else found["handle"]

    assert end([at(22), DROP]) is None
    assert end([at(22), ACCEPT], [DROP], [DROP]) == 1
    assert end([JUMP], [DROP], more=[DROP]) == "more"
    assert end([JUMP], [DROP], more=[at(22), DROP]) == 1
    assert end([GOTO], [DROP]) == 0


def test_an_answer_in_another_version_of_ip_ends_no_way() -> None:
    found = passage([{"reject": {"type": "icmpv6"}}], packet=GUEST)
    assert (found.shuts, found.falls) == ([], True)
    assert passage([{"reject": {"type": "icmp"}}], packet=GUEST).falls is False


def test_why_somebody_is_let_in() -> None:
    def why(*expressions: Any, more: Any = (ACCEPT,)) -> list[Why]:
        return [step.why for step in passage(*expressions, more=more, packet=GUEST).takes]

    use_up = {"set": {"op": "delete", "set": "@admitted"}}
    assert why([at(8443), named("admitted"), ACCEPT]) == [Why.GRANT | Why.PORT]
    assert why([at(8443), named("admitted"), use_up, ACCEPT]) == [Why.GRANT | Why.PORT | Why.USED_UP]
    assert why([at(8443), JUMP], more=[named("admitted"), ACCEPT]) == [Why.GRANT | Why.PORT]
    assert why([{"queue": None}], [named("others"), ACCEPT]) == [Why.NOTHING]
    assert why([at({"set": [22, 8443]}), named("admitted"), ACCEPT]) == [Why.GRANT]
    assert takes([at(8443), named("admitted"), ACCEPT]) == []
