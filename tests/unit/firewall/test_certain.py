"""What the first packet of a connection to port 8443 meets for certain: anybody's, and that of who was admitted."""

from typing import Any

import pytest

from hyperion.firewall.certain import anybody_meets, guest_meets, is_of_another_version
from hyperion.firewall.narrow import Json


def field(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


def meta(key: str) -> Json:
    return {"meta": {"key": key}}


PORT, FLAGS, STATE = field("tcp", "dport"), field("tcp", "flags"), {"ct": {"key": "state"}}
USUAL = {"&": [FLAGS, ["fin", "syn", "rst", "ack"]]}


@pytest.mark.parametrize(
    ("left", "op", "values"),
    [
        (PORT, "==", [8443]),
        (PORT, "in", [8443]),
        (field("th", "dport"), "==", [22, {"range": [8000, 9000]}]),
        (PORT, "==", ["*"]),
        (PORT, "!=", [22, {"range": [80, 90]}]),
        (PORT, ">=", [1024]),
        (PORT, "<", [9000]),
        (meta("l4proto"), "==", ["udp", "tcp"]),
        (meta("l4proto"), "==", [6]),
        (meta("l4proto"), "!=", ["udp", 1]),
    ],
)
def test_anybody(left: Json, op: str, values: list[Any]) -> None:
    assert anybody_meets(8443, left, op, values)


@pytest.mark.parametrize(
    ("left", "op", "values"),
    [
        (PORT, "==", [22]),
        (PORT, "==", []),
        (PORT, "!=", [22, 8443]),
        (PORT, "!=", ["http"]),
        (PORT, ">", [8443]),
        (PORT, "<", ["http"]),
        (PORT, "odd", [8443]),
        (field("udp", "dport"), "==", [8443]),
        (field("tcp", "sport"), "!=", [22]),
        (meta("l4proto"), "!=", ["udp", "tcp"]),
        (meta("l4proto"), "!=", ["*"]),
        (meta("l4proto"), "odd", ["udp"]),
        (STATE, "in", ["new"]),
        (field("ip", "saddr"), "!=", ["192.0.2.1"]),
        (meta("iifname"), "!=", ["lo"]),
        ({"x": 1}, "==", [8443]),
    ],
)
def test_who_knows_of_anybody(left: Json, op: str, values: list[Any]) -> None:
    assert not anybody_meets(8443, left, op, values)


@pytest.mark.parametrize(
    ("left", "op", "values"),
    [
        (STATE, "in", ["established", "new"]),
        (STATE, "==", ["new"]),
        (STATE, "!=", ["established"]),
        (STATE, "!", ["invalid", "untracked"]),
        (USUAL, "==", ["syn"]),
        (FLAGS, "in", ["syn"]),
        (FLAGS, "in", ["syn", "ack"]),
        ({"&": [FLAGS, "syn"]}, "==", ["syn"]),
        (meta("iifname"), "!=", ["lo"]),
        (meta("nfproto"), "==", ["ipv4"]),
        (meta("nfproto"), "!=", ["ipv6"]),
        (meta("protocol"), "==", ["ip", "ip6"]),
    ],
)
def test_who_was_admitted(left: Json, op: str, values: list[Any]) -> None:
    assert guest_meets(4, left, op, values)


@pytest.mark.parametrize(
    ("left", "op", "values"),
    [
        (STATE, "in", ["established"]),
        (STATE, "!=", ["new"]),
        (STATE, "!=", [4]),
        (STATE, "odd", ["established"]),
        (USUAL, "==", ["ack"]),
        (USUAL, "!=", ["syn"]),
        (USUAL, "==", [{"|": ["syn", "ack"]}]),
        # There may be flags of ECN beside it.
        (FLAGS, "==", ["syn"]),
        (FLAGS, "!=", ["syn"]),
        ({"&": [FLAGS, ["syn", "ecn"]]}, "==", ["syn"]),
        ({"&": [FLAGS, 2]}, "==", ["syn"]),
        ({"&": [FLAGS, [{"|": ["syn"]}]]}, "==", ["syn"]),
        ({"&": [FLAGS]}, "==", ["syn"]),
        ({"&": ["x", ["syn"]]}, "==", ["syn"]),
        (meta("iifname"), "==", ["eth0"]),
        (meta("iifname"), "!=", ["lo", "wg0"]),
        (meta("nfproto"), "==", ["ipv6"]),
        (meta("nfproto"), "!=", ["ipv4"]),
        (meta("mark"), "!=", [1]),
        (PORT, "==", [8443]),
    ],
)
def test_who_knows_of_who_was_admitted(left: Json, op: str, values: list[Any]) -> None:
    assert not guest_meets(4, left, op, values)


@pytest.mark.parametrize(
    ("left", "op", "values", "version"),
    [
        (field("ip6", "saddr"), "==", ["2001:db8::1"], 4),
        (field("icmpv6", "type"), "!=", ["echo-request"], 4),
        (field("ip", "ttl"), ">", [1], 6),
        (meta("nfproto"), "==", ["ipv6"], 4),
        (meta("nfproto"), "!=", ["ipv6"], 6),
        (meta("protocol"), "in", ["ip", "arp"], 6),
    ],
)
def test_another_version_of_ip(left: Json, op: str, values: list[Any], version: int) -> None:
    assert is_of_another_version(version, left, op, values)
    assert not is_of_another_version(10 - version, left, op, values)


def test_what_says_nothing_of_a_version() -> None:
    for left, op, values in ((PORT, "==", [8443]), (meta("mark"), "==", [1]), (meta("nfproto"), "<", ["ipv6"])):
        assert not is_of_another_version(4, left, op, values)
