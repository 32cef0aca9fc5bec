import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.errors import ConfigError
from hyperion.firewall.ruleset import (
    MAX_TTL_SECONDS,
    Ruleset,
    admit_text,
    grants_text,
    parse_source,
    remove_text,
    replace_text,
    revoke_text,
    ruleset_text,
)

RULES = Ruleset(8443)

#: What `print-firewall --tunnel-port 8443 --keep-port 22` prints: operators load and review this.
PRINTED = """\
table inet hyperion {
  comment "hyperion: the gate. Made by print-firewall; load it as often as you like"
  set admitted {
    type ipv4_addr; size 8192; flags dynamic, timeout; timeout 60s;
  }
  set admitted_connections {
    type ipv4_addr; size 8192; flags dynamic;
  }
  set admitted6 {
    type ipv6_addr; size 8192; flags dynamic, timeout; timeout 60s;
  }
  set admitted6_connections {
    type ipv6_addr; size 8192; flags dynamic;
  }
  chain input {
    type filter hook input priority filter; policy drop;
  }
}
# The rules of an earlier load go, its sets with the live grants stay.
flush chain inet hyperion input
table inet hyperion {
  chain input {
"""

ICMPV6_ERRORS = "destination-unreachable, packet-too-big, time-exceeded, parameter-problem"


def rule_lines(text: str) -> list[str]:
    return [
        line.strip() for line in text.splitlines() if " comment " in line and not line.strip().startswith("comment")
    ]


def test_the_printed_text() -> None:
    text = ruleset_text(Ruleset(8443, keep_ports=(22,)))
    assert text.startswith(PRINTED)
    assert text.endswith("  }\n}\n")
    assert [line.split(" comment ")[0] for line in rule_lines(text)] == [
        "ct state established accept",
        "ct state invalid drop",
        'iifname "lo" accept',
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } ip6 hoplimit 255 accept",
        "icmpv6 type mld-listener-query ip6 saddr fe80::/10 ip6 hoplimit 1 accept",
        "ct state related icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
        f"ct state related icmpv6 type {{ {ICMPV6_ERRORS} }} accept",
        "tcp dport 22 ct state new tcp flags & (fin | syn | rst | ack) == syn accept",
        *[
            f"tcp dport 8443 ct state new tcp flags & (fin | syn | rst | ack) == syn {family} saddr @{name} {rest}"
            for family, name in (("ip", "admitted"), ("ip6", "admitted6"))
            for rest in (
                f"add @{name}_connections {{ {family} saddr ct count over 64 }} counter drop",
                "counter accept",
            )
        ],
        "counter drop",
    ]


def test_every_rule_says_why_it_is_there() -> None:
    text = ruleset_text(Ruleset(8443, keep_ports=(22, 80), one_shot=True, dhcpv6=True))
    inside = text.rpartition("chain input {\n")[2].partition("  }\n")[0].splitlines()
    assert len(inside) == 15
    # 128 bytes are the most that nft takes.
    assert all(re.search(r' comment "[^"]{8,127}"$', line) for line in inside)


def test_one_shot_deletes_and_otherwise_nothing_does() -> None:
    assert "delete" not in ruleset_text(RULES)
    text = ruleset_text(Ruleset(8443, one_shot=True))
    assert "saddr @admitted delete @admitted { ip saddr } counter accept" in text
    assert "saddr @admitted6 delete @admitted6 { ip6 saddr } counter accept" in text


@pytest.mark.parametrize(
    "name",
    ["", "1a", "a b", "a;b", "a{", "a}", "$(reboot)", "a\nb", "a\n", "ä", "a-b", 'a"b', "a" * 32, "@a", "#a", "a.b"],
)
def test_a_name_that_could_mean_something_else_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="firewall table"):
        Ruleset(8443, name)
    with pytest.raises(ConfigError, match="firewall set"):
        Ruleset(8443, "hyperion", name)
    with pytest.raises(ConfigError):
        remove_text(name)


@given(st.text(max_size=40))
def test_only_words_are_names(name: str) -> None:
    try:
        Ruleset(8443, name)
    except ConfigError:
        assert not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,30}", name)
    else:
        assert name.isascii()
        assert name.isidentifier()


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_ports_are_ports(port: int) -> None:
    with pytest.raises(ConfigError, match="port"):
        Ruleset(port)
    with pytest.raises(ConfigError, match="port"):
        Ruleset(8443, keep_ports=(22, port))


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="connection"):
        Ruleset(8443, max_connections=0)


def test_an_admission_is_add_delete_add_and_always_has_its_time() -> None:
    assert admit_text(RULES, parse_source("192.0.2.1"), 1.5) == (
        "add element inet hyperion admitted { 192.0.2.1 timeout 1500ms }\n"
        "delete element inet hyperion admitted { 192.0.2.1 }\n"
        "add element inet hyperion admitted { 192.0.2.1 timeout 1500ms }\n"
    )
    assert admit_text(RULES, parse_source("2001:DB8::1"), 60).count("admitted6 { 2001:db8::1 timeout 60000ms }") == 2


def test_a_revocation_works_with_and_without_a_grant() -> None:
    add, delete = revoke_text(RULES, parse_source("2001:db8::1")).splitlines()
    assert re.fullmatch(r"add element inet hyperion admitted6 \{ 2001:db8::1 timeout \d+ms \}", add)
    assert delete == "delete element inet hyperion admitted6 { 2001:db8::1 }"


@pytest.mark.parametrize("ttl", [0, -1, 0.0004, MAX_TTL_SECONDS + 1, float("inf"), float("nan")])
def test_a_time_that_nft_would_take_for_ever_or_wrong_is_refused(ttl: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        admit_text(RULES, parse_source("192.0.2.1"), ttl)
    with pytest.raises((ValueError, OverflowError)):
        grants_text(RULES, {"192.0.2.1": ttl})


@pytest.mark.parametrize(
    "source",
    [
        *("", "x", "192.0.2.1/24", "192.0.2.1 }", "192.0.2.1\n", "192.0.2", "1.2.3.4 timeout 0s", "fe80::1%eth0"),
        *("224.0.0.1", "0.0.0.0", "::", "ff02::1", "::ffff:224.0.0.1"),
    ],
)
def test_what_is_no_source_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_source(source)


def test_an_ipv4_source_in_ipv6_clothes() -> None:
    assert str(parse_source("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(parse_source("::1")) == "::1"


def test_a_replacement_is_remove_table_and_grants_in_one_text() -> None:
    text = replace_text(RULES, ruleset_text(RULES), {"192.0.2.1": 3.25, "2001:db8::1": 60})
    assert text == (
        "table inet hyperion\ndelete table inet hyperion\n"
        + ruleset_text(RULES)
        + "add element inet hyperion admitted { 192.0.2.1 timeout 3250ms }\n"
        + "add element inet hyperion admitted6 { 2001:db8::1 timeout 60000ms }\n"
    )
    assert replace_text(RULES, "table inet hyperion {\n}\n\n", {}).endswith("hyperion\ntable inet hyperion {\n}\n")
