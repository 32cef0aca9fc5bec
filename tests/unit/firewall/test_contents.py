import json
from typing import Any

import pytest

from hyperion.errors import ConfigError
from hyperion.firewall.contents import empty_text, foreign_sets, set_names
from hyperion.firewall.nft import FirewallError


def listing(*objects: dict[str, Any]) -> str:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *objects]})


FULL = listing(
    {"table": {"name": "t"}},
    {"counter": {"name": "c1"}},
    {"ct helper": {"name": "ftp-standard"}},
    {"set": {"name": "s"}},
    {"map": {"name": "m"}},
    {"chain": {"name": "other"}},
    {"chain": {"name": "input"}},
    {"rule": {"chain": "input", "handle": 7}},
)


def test_rules_go_first_and_what_is_needed_by_others_last() -> None:
    assert empty_text("t", FULL).splitlines() == [
        "flush table inet t",
        "delete map inet t m",
        "delete set inet t s",
        "delete chain inet t other",
        "delete chain inet t input",
        "delete counter inet t c1",
        "delete ct helper inet t ftp-standard",
    ]
    assert empty_text("t", listing()) == "flush table inet t\n"
    assert set_names(FULL) == {"s"}


def test_sets_that_no_gate_made() -> None:
    gate = ("in", "in6", "in_connections", "in6_connections")
    found = [*({"set": {"name": name}} for name in (*gate, "trusted", "trusted6")), {"map": {"name": "ports"}}]
    assert foreign_sets(listing(*found)) == ["set trusted", "set trusted6", "map ports"]
    assert foreign_sets(listing()) == []


@pytest.mark.parametrize(
    "text", ["", "{}", '{"nftables": 1}', '{"nftables": [{"set": 1}]}', '{"nftables": [{"set": {}}]}']
)
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(FirewallError):
        empty_text("t", text)


@pytest.mark.parametrize("name", ["a b", "a; flush ruleset", "", "1a", "a\nb"])
def test_a_name_that_says_more(name: str) -> None:
    with pytest.raises(FirewallError):
        empty_text("t", listing({"set": {"name": name}}))
    with pytest.raises(ConfigError):
        empty_text(name, listing())
