"""Rules as a whole, and the chains that they lead to."""

from typing import Any

import pytest

from hyperion.firewall.holes import Table
from hyperion.firewall.narrow import Conditions, Json

PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
STATE = {"ct": {"key": "state"}}
SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
ACCEPT: Json = {"accept": None}
JUMP, GOTO = {"jump": {"target": "more"}}, {"goto": {"target": "more"}}
EVERYTHING, MAYBE = "a rule accepts everything", "a rule may open port 8443 to everybody"


def at(port: Any) -> Json:
    return {"match": {"op": "==", "left": PORT, "right": port}}


def choice(key: Json, *pairs: Any) -> Json:
    return {"vmap": {"key": key, "data": {"set": list(pairs)}}}


def table(expression: Any, more: Any = (ACCEPT,)) -> Table:
    rules: list[Json] = [
        {"chain": "input", "handle": 7, "expr": list(expression)},
        {"chain": "more", "expr": list(more)},
    ]
    maps: dict[str, list[Any]] = {
        "open": [[22, ACCEPT], [8443, ACCEPT]],
        "shut": [[22, ACCEPT], [{"elem": {"val": 23}}, JUMP]],
    }
    return Table(["input", "empty"], rules, maps, Conditions(8443, frozenset({"@admitted"}), {}))


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ([ACCEPT], EVERYTHING),
        (["accept"], EVERYTHING),
        ([{"counter": None}, {"limit": {"rate": 1_000}}, ACCEPT], EVERYTHING),
        ([at(8443), {"ct count": {"val": 1_000}}, ACCEPT], MAYBE),
        ([at(8443), {"queue": {"num": 0}}], MAYBE),
        ([{"xt": None}], MAYBE),
        ([{"synproxy": {"mss": 1460}}], MAYBE),
        ([{"match": "x"}, ACCEPT], MAYBE),
        ([choice(PORT, [22, ACCEPT], [8443, ACCEPT])], MAYBE),
        ([choice(PORT, [22, {"drop": None}], ["*", ACCEPT])], MAYBE),
        ([choice(PORT, [8443, {"queue": None}])], MAYBE),
        ([choice(STATE, ["established", ACCEPT], ["new", ACCEPT])], MAYBE),
        ([choice(SOURCE, *([{"prefix": {"addr": f"{one}.0.0.0", "len": 8}}, ACCEPT] for one in range(1, 9)))], MAYBE),
        # The choice comes first, whatever its rule asks for afterwards.
        ([choice(PORT, [8443, ACCEPT]), at(22), ACCEPT], MAYBE),
        ([choice(PORT, ACCEPT)], MAYBE),
        ([{"vmap": {"key": PORT, "data": "@open"}}], MAYBE),
        ([{"vmap": {"key": PORT, "data": "@unknown"}}], MAYBE),
        ([{"vmap": "x"}], MAYBE),
        ([{"jump": {"target": "unknown"}}], MAYBE),
        ([{"jump": None}], MAYBE),
    ],
)
def test_a_rule_that_takes_strangers_in(expression: Any, what: str) -> None:
    assert table(expression).holes("input", 8443) == [f"{what}: chain input, handle 7"]


@pytest.mark.parametrize("way", [[JUMP], ["notrack", GOTO], [at(8443), JUMP], [choice(PORT, [8443, GOTO])]])
def test_chains_that_strangers_are_sent_to(way: Any) -> None:
    assert table(way).holes("input", 8443) == [f"{EVERYTHING}: chain more"]
    assert table(way, [at(8443), ACCEPT]).holes("input", 8443) == [f"{MAYBE}: chain more"]
    assert table(way, [at(22), ACCEPT]).holes("input", 8443) == []
    assert table(way, [{"jump": {"target": "input"}}]).holes("input", 8443) == []  # a loop


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
    assert table(expression).holes("input", 8443) == []


def test_the_same_fault_is_said_once() -> None:
    rules: list[Json] = [{"chain": "input", "expr": [ACCEPT]}] * 2
    assert Table([], rules, {}, Conditions(1, frozenset(), {})).holes("input", 1) == [f"{EVERYTHING}: chain input"]
