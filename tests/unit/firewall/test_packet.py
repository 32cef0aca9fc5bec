"""Three answers to each condition, for a stranger's packet and an admitted one."""

from typing import Any

import pytest

from hyperion.firewall.narrow import Json
from hyperion.firewall.packet import Meets, Packet, Why

OURS = frozenset({"@admitted", "@admitted6"})
SETS: dict[str, list[Any]] = {"ports": [22, 8443], "few": ["192.0.2.1"]}
STRANGER = Packet(8443, OURS, SETS)
GUEST = Packet(8443, OURS, SETS, guest_of="@admitted", version=4)
GUEST6 = Packet(8443, OURS, SETS, guest_of="@admitted6", version=6)
NEVER, MAYBE, SURELY = Meets.NEVER, Meets.MAYBE, Meets.SURELY


def match(left: Any, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}["match"]


def field(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


PORT, SOURCE, SOURCE6, STATE = (
    field("tcp", "dport"),
    field("ip", "saddr"),
    field("ip6", "saddr"),
    {"ct": {"key": "state"}},
)


@pytest.mark.parametrize(
    ("condition", "of_stranger", "of_guest", "of_guest6"),
    [
        (match(PORT, 8443), SURELY, SURELY, SURELY),
        (match(PORT, "@ports"), SURELY, SURELY, SURELY),
        (match(PORT, "@unknown"), MAYBE, MAYBE, MAYBE),
        (match(PORT, 22), NEVER, NEVER, NEVER),
        (match(SOURCE, "@admitted"), NEVER, SURELY, NEVER),
        (match(SOURCE6, "@admitted6"), NEVER, NEVER, SURELY),
        (match(SOURCE, "@admitted", "!="), MAYBE, MAYBE, MAYBE),
        (match(SOURCE, "@few"), NEVER, NEVER, NEVER),
        (match(SOURCE, "192.0.2.1", "!="), MAYBE, MAYBE, NEVER),
        (match(STATE, "new", "in"), MAYBE, SURELY, SURELY),
        (match(STATE, "established", "in"), NEVER, NEVER, NEVER),
        (match({"meta": {"key": "nfproto"}}, "ipv6"), MAYBE, NEVER, SURELY),
        (match({"meta": {"key": "mark"}}, 1), MAYBE, MAYBE, MAYBE),
        (match("x", 1), MAYBE, MAYBE, MAYBE),
    ],
)
def test_a_condition(condition: Json, of_stranger: Meets, of_guest: Meets, of_guest6: Meets) -> None:
    assert [packet.meets(condition) for packet in (STRANGER, GUEST, GUEST6)] == [of_stranger, of_guest, of_guest6]


def test_a_choice() -> None:
    assert STRANGER.chosen(PORT, [22, 80]) is NEVER
    assert STRANGER.chosen(PORT, [22, 8443]) is SURELY
    assert STRANGER.chosen(STATE, ["new"]) is MAYBE
    assert GUEST.chosen(STATE, ["new"]) is SURELY


def test_reasons() -> None:
    assert GUEST.why("match", match(SOURCE, "@admitted")) is Why.GRANT
    assert GUEST.why("match", match(SOURCE, "@admitted", "!=")) is Why.NOTHING
    assert STRANGER.why("match", match(SOURCE, "@admitted")) is Why.NOTHING
    assert GUEST.why("match", match(PORT, 8443)) is Why.PORT
    assert GUEST.why("match", match(PORT, {"set": [8443]})) is Why.NOTHING
    assert GUEST.why("set", {"op": "delete", "set": "@admitted"}) is Why.USED_UP
    assert GUEST.why("set", {"op": "delete", "set": "@admitted6"}) is Why.NOTHING
    assert GUEST.why("accept", None) is Why.NOTHING


def test_an_answer_of_one_version_of_ip_is_for_that_one() -> None:
    """Although the rule says nothing more."""
    answers = [{"type": "icmp", "expr": "port-unreachable"}, {"type": "icmpv6"}, {"type": "icmpx"}, None]
    found = [[packet.is_answered(answer) for answer in answers] for packet in (STRANGER, GUEST, GUEST6)]
    assert found == [
        [MAYBE, MAYBE, SURELY, SURELY],
        [SURELY, NEVER, SURELY, SURELY],
        [NEVER, SURELY, SURELY, SURELY],
    ]
