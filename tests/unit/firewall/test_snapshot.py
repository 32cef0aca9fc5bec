import pytest

from hyperion.errors import ConfigError
from hyperion.firewall.snapshot import can_be_restored, comparable, restore_table_text, restore_text

LISTING = """table inet a {
    set s {
        type ipv4_addr
        flags timeout
        elements = { 10.0.0.2 timeout 1m expires 59s932ms, 10.0.0.1 expires 1d2h3m4s5ms,
             10.0.0.3 timeout 5m expires 3m188ms counter packets 4 bytes 5 }
    }
    chain c {
        counter packets 12 bytes 3456 drop comment "x"
    }
}
"""


def test_only_what_runs_by_itself_is_left_out_of_a_comparison() -> None:
    later = LISTING.replace("59s932ms", "2ms").replace("packets 12", "packets 99").replace("3m188ms", "1s")
    first, second, rest = "10.0.0.2 timeout 1m expires 59s932ms", "10.0.0.1 expires 1d2h3m4s5ms", "packets 4 bytes 5"
    assert comparable(later) == comparable(LISTING)
    swapped = LISTING.replace(first, "X").replace(second, first).replace("X", second)
    assert comparable(swapped) == comparable(LISTING)
    assert "elements = { 10.0.0.1, 10.0.0.2 timeout 1m, 10.0.0.3 timeout 5m counter }" in comparable(LISTING)
    assert rest not in comparable(LISTING)
    for change in (("timeout 5m", "timeout 6m"), ("10.0.0.3", "10.0.0.4"), ("drop", "accept"), ('"x"', '"y"')):
        assert comparable(LISTING.replace(*change)) != comparable(LISTING)


def test_the_whole_ruleset_goes_and_comes_in_one_text() -> None:
    assert restore_text(LISTING) == "flush ruleset\n" + LISTING
    assert restore_text("") == "flush ruleset\n"


def test_one_table() -> None:
    assert restore_table_text("a", LISTING) == "table inet a\ndelete table inet a\n" + LISTING
    assert restore_table_text("a", None) == "table inet a\ndelete table inet a\n"
    with pytest.raises(ConfigError):
        restore_table_text("a; flush ruleset", None)


@pytest.mark.parametrize(
    "line",
    [
        "\t\txt match recent counter packets 0 bytes 0 log",
        'tcp dport 22 xt target "TCPMSS"',
        "# Warning: table ip filter is managed by iptables-nft, do not touch!",
        "\t\t# xt_recent",
    ],
)
def test_what_iptables_made_cannot_be_restored_by_nft(line: str) -> None:
    assert can_be_restored(LISTING)
    assert not can_be_restored(LISTING.replace("    chain c {", f"    chain c {{\n{line}"))
