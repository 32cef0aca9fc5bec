"""Each condition on its own: what shuts strangers out of port 8443 for certain, and what does not, or may not."""

from typing import Any

import pytest

from hyperion.firewall.narrow import Conditions, Json, bare, names_port, names_source

SETS: dict[str, list[Any]] = {
    "few": ["192.0.2.1", {"elem": {"val": "192.0.2.2", "comment": "a"}}],
    "all": [{"prefix": {"addr": "0.0.0.0", "len": 0}}],
    "ports": [22, {"range": [80, 90]}],
    "more": [22, {"elem": {"val": 8443, "comment": "a"}}],
    "both": [{"concat": ["192.0.2.1", 8443]}, {"concat": [{"prefix": {"addr": "0.0.0.0", "len": 0}}, 22]}],
    "none": [],
}
CONDITIONS = Conditions(8443, frozenset({"@admitted", "@admitted6"}), SETS)


def field(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


def prefix(address: str, length: int) -> Json:
    return {"prefix": {"addr": address, "len": length}}


def both(*values: Any) -> Json:
    return {"concat": list(values)}


def many(*values: Any) -> Json:
    return {"set": list(values)}


PORT, TH, SOURCE, SOURCE6 = field("tcp", "dport"), field("th", "dport"), field("ip", "saddr"), field("ip6", "saddr")
L4, STATE, IIF = {"meta": {"key": "l4proto"}}, {"ct": {"key": "state"}}, {"meta": {"key": "iif"}}
IIFNAME = {"meta": {"key": "iifname"}}

SHUT_OUT: list[tuple[Json, str, Any]] = [
    (PORT, "==", 22),
    (TH, "==", 22),
    (PORT, "==", many(22, {"range": [80, 8442]}, {"elem": {"val": 9, "comment": "a"}})),
    (PORT, "==", {"range": [8444, 65535]}),
    (PORT, "==", "@ports"),
    (PORT, "==", "@none"),
    (PORT, "!=", 8443),
    (PORT, "!=", {"range": [8000, 9000]}),
    (PORT, "!=", many(22, 8443)),
    (PORT, "<", 1024),
    (PORT, "<=", 8442),
    (PORT, ">", 8443),
    (PORT, ">=", 8444),
    (field("udp", "dport"), "==", 8443),
    (field("udp", "sport"), "!=", 53),
    (field("icmp", "type"), "==", "echo-request"),
    (field("icmpv6", "type"), "==", many("echo-request")),
    (field("ip", "protocol"), "==", "icmp"),
    (field("ip", "protocol"), "!=", "tcp"),
    (field("ip6", "nexthdr"), "==", many("ipv6-icmp", "udp")),
    (L4, "==", many("udp", "icmp", 253)),
    (L4, "!=", many("tcp", "udp")),
    (L4, "!=", 6),
    (STATE, "in", "established"),
    (STATE, "in", ["established", "related"]),
    (STATE, "==", many("established", "related")),
    (IIF, "==", "lo"),
    (IIFNAME, "==", "wg0"),
    (IIFNAME, "==", many("wg0", "wg1")),
    (SOURCE, "==", "@admitted"),
    (SOURCE6, "==", "@admitted6"),
    (SOURCE, "==", "198.51.100.7"),
    (SOURCE, "==", "@few"),
    (SOURCE, "==", prefix("12.0.0.0", 8)),
    (SOURCE, "==", {"range": ["198.51.100.1", "198.51.100.9"]}),
    (SOURCE, "==", many(*(prefix(*one) for one in (("10.0.0.0", 8), ("172.16.0.0", 12), ("192.168.0.0", 16))))),
    (SOURCE6, "==", prefix("2001:db8::", 16)),
    (SOURCE6, "==", many(prefix("fd00::", 8), prefix("fe80::", 10), "::1")),
    (both(SOURCE, PORT), "==", "@both"),
    (both(IIFNAME, PORT), "==", many(both("wg0", 8443), both("eth*", 22))),
    (both(L4, TH), "==", many(both("tcp", 22), both("udp", 8443))),
]

OPEN: list[tuple[Any, Any, Any]] = [
    (PORT, "==", 8443),
    (TH, "==", 8443),
    (PORT, "==", {"range": [8000, 9000]}),
    (PORT, "==", many(22, {"range": [8440, 8450]})),
    (PORT, "==", "@more"),
    (PORT, "==", "@unknown"),
    (PORT, "==", "*"),
    (PORT, "==", prefix("8000", 4)),
    (PORT, "==", {"range": ["a", "b"]}),
    (PORT, "!=", 22),
    (PORT, "!=", {"range": [1, 1023]}),
    (PORT, "!=", "@unknown"),
    (PORT, "<", 8444),
    (PORT, "<=", 8443),
    (PORT, ">", 1000),
    (PORT, ">=", 1024),
    (PORT, ">=", "x"),
    (PORT, "!", 8443),
    (field("tcp", "sport"), "==", {"range": [1, 65535]}),
    (field("tcp", "flags"), "in", "syn"),
    ({"&": [field("tcp", "flags"), ["syn", "ack"]]}, "==", "syn"),
    (field("ip", "protocol"), "==", "tcp"),
    (field("ip", "protocol"), "!=", "udp"),
    (field("ip", "version"), "==", 4),
    (field("ip", "ttl"), ">", 0),
    (field("ip", "daddr"), "==", "198.51.100.7"),
    # Not the last header: TCP may follow.
    (field("ip6", "nexthdr"), "==", "hopopt"),
    (field("ip6", "nexthdr"), "!=", "tcp"),
    (L4, "==", many("tcp", "udp")),
    (L4, "==", {"range": ["icmp", 10]}),
    (L4, "==", "*"),
    (L4, "==", 6),
    (L4, "!=", "udp"),
    (L4, ">", "icmp"),
    ({"meta": {"key": "nfproto"}}, "==", "ipv4"),
    ({"meta": {"key": "mark"}}, "==", 0),
    ({"meta": {"key": "iifgroup"}}, "==", 0),
    (STATE, "in", "new"),
    (STATE, "in", ["established", "new"]),
    (STATE, "==", many("established", "untracked")),
    (STATE, "!=", "invalid"),
    (STATE, "!", "invalid"),
    ({"ct": {"key": "direction"}}, "==", "original"),
    ({"ct": {"key": "status"}}, "in", "dnat"),
    (IIFNAME, "!=", "lo"),
    (IIFNAME, "==", "eth*"),
    (IIFNAME, "==", many("wg0", "*")),
    (SOURCE, "!=", "198.51.100.7"),
    (SOURCE, "!=", "@admitted"),
    (SOURCE, "==", "@admitted_connections"),
    (SOURCE, "==", "@all"),
    (SOURCE, "==", prefix("0.0.0.0", 0)),
    (SOURCE, "==", prefix("12.0.0.0", 7)),
    (SOURCE, "==", {"range": ["0.0.0.0", "255.255.255.255"]}),
    (SOURCE, "==", {"range": ["198.51.100.9", "198.51.100.1"]}),
    (SOURCE, "==", many(*(prefix(f"{first}.0.0.0", 8) for first in range(1, 224)))),
    (SOURCE, "==", "*"),
    (SOURCE, "==", 5),
    (SOURCE6, "==", prefix("2000::", 3)),
    (field("ether", "saddr"), "==", "02:00:00:00:00:01"),
    (both(SOURCE, PORT), "==", many(*(both(prefix(f"{first}.0.0.0", 8), 8443) for first in range(1, 224)))),
    (both(SOURCE, PORT), "==", many(both("192.0.2.1", 22), 5)),
    (both(SOURCE, PORT), "==", many(both("192.0.2.1"))),
    (both(SOURCE, PORT), "!=", many(both("192.0.2.1", 22))),
    ({"fib": {"result": "type", "flags": ["daddr"]}}, "==", "local"),
    ({"payload": 5}, "==", 5),
    ("x", "==", 1),
    (PORT, None, 22),
]


@pytest.mark.parametrize(("left", "op", "right"), SHUT_OUT)
def test_no_stranger_meets_it(left: Json, op: str, right: Any) -> None:
    assert CONDITIONS.shut_out({"left": left, "op": op, "right": right})


@pytest.mark.parametrize(("left", "op", "right"), OPEN)
def test_a_stranger_may_meet_it(left: Any, op: Any, right: Any) -> None:
    assert not CONDITIONS.shut_out({"left": left, "op": op, "right": right})


def test_a_condition_that_says_nothing() -> None:
    assert not CONDITIONS.shut_out({})


def test_bare_elements() -> None:
    assert [bare(one) for one in (5, {"elem": {"val": 6}}, {"elem": 7}, {"range": [1, 2]})] == [
        *(5, 6, {"elem": 7}, {"range": [1, 2]})
    ]


def test_what_a_condition_names() -> None:
    def match(left: Any, op: str, right: Any) -> Json:
        return {"op": op, "left": left, "right": right}

    assert names_source(match(SOURCE, "==", "@admitted")) == "@admitted"
    assert names_source(match(SOURCE6, "in", "@others")) == "@others"
    assert names_port(match(PORT, "==", 22)) == 22
    nothing: list[tuple[Any, str, Any]] = [
        (SOURCE, "!=", "@admitted"),
        (SOURCE, "==", "192.0.2.1"),
        (PORT, "==", "@ports"),
        ("x", "==", "@admitted"),
    ]
    nothing += [(PORT, "!=", 22), (PORT, "==", True), (TH, "==", 22)]
    assert {names_source(match(*one)) for one in nothing} | {names_port(match(*one)) for one in nothing} == {None}
