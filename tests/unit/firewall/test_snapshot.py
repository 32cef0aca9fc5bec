import json

import pytest

from hyperion.errors import ConfigError
from hyperion.firewall.snapshot import aged, can_be_restored, comparable, lasting_elements, restore_text, table_of

LISTING = """table inet a {
\tset s {
\t\ttype ipv4_addr
\t\tflags timeout
\t\telements = { 10.0.0.2 timeout 1m expires 59s932ms, 10.0.0.1 expires 1d2h3m4s5ms,
\t\t\t     10.0.0.3 timeout 5m expires 3m188ms counter packets 4 bytes 5 }
\t}
\tchain c {
\t\tcounter packets 12 bytes 3456 drop comment "x"
\t}
}
"""
ODD = """table inet b {
\tset s {
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1 timeout 1m expires 5s comment "a, b } expires 1s", 10.0.0.9 }
\t}
\tmap m {
\t\ttype inet_service : verdict
\t\telements = { 22 : jump other, 23 : drop }
\t}
\tquota q {
\t\tover 10 mbytes used 3 kbytes
\t}
\tchain c {
\t\tlog prefix "elements = { 1 expires 3s, 2 }" comment "}"
\t}
}
"""


def test_only_what_runs_by_itself_is_left_out_of_a_comparison() -> None:
    later = LISTING.replace("59s932ms", "2ms").replace("packets 12", "packets 99").replace("3m188ms", "1s")
    first, second, rest = "10.0.0.2 timeout 1m expires 59s932ms", "10.0.0.1 expires 1d2h3m4s5ms", "packets 4 bytes 5"
    assert comparable(later) == comparable(LISTING)
    swapped = LISTING.replace(first, "X").replace(second, first).replace("X", second)
    assert comparable(swapped) == comparable(LISTING)
    assert "elements = { 10.0.0.1, 10.0.0.2 timeout 1m, 10.0.0.3 timeout 5m counter packets bytes }" in comparable(
        LISTING
    )
    assert rest not in comparable(LISTING)
    for change in (("timeout 5m", "timeout 6m"), ("10.0.0.3", "10.0.0.4"), ("drop", "accept"), ('"x"', '"y"')):
        assert comparable(LISTING.replace(*change)) != comparable(LISTING)
    assert comparable(ODD.replace("used 3 kbytes", "used 9 mbytes")) == comparable(ODD)


def test_what_comes_and_goes_can_be_left_out_too() -> None:
    bare = comparable(LISTING, living=False)
    assert "elements" not in bare
    assert bare == comparable(LISTING.replace("10.0.0.2", "10.0.0.7"), living=False)
    assert comparable(ODD, living=False) != comparable(ODD.replace("10.0.0.9", "10.0.0.8"), living=False)
    counted = LISTING.replace("10.0.0.1 expires 1d2h3m4s5ms", "10.0.0.1 ct count over 64")
    assert "elements" not in comparable(counted, living=False)


def test_time_goes_on_for_elements() -> None:
    later = aged(LISTING, 60.0)
    assert "10.0.0.2" not in later
    assert "10.0.0.1 expires 93724005ms" in later
    assert "10.0.0.3 timeout 5m expires 120188ms counter packets 4 bytes 5" in later
    assert comparable(aged(LISTING, 0)) == comparable(LISTING)
    gone = aged(LISTING, 1e6)
    assert "elements" not in gone
    assert gone.count("\n") == LISTING.count("\n") - 2


def test_quotes_and_commas_mislead_nobody() -> None:
    later = aged(ODD, 2.0)
    assert '10.0.0.1 timeout 1m expires 3000ms comment "a, b } expires 1s", 10.0.0.9 }' in later
    assert 'log prefix "elements = { 1 expires 3s, 2 }" comment "}"' in later
    assert "elements = { 22 : jump other, 23 : drop }" in later
    assert "elements = { 10.0.0.9 }" in aged(ODD, 5.0)


def test_a_table_out_of_a_ruleset() -> None:
    ruleset = LISTING + ODD + LISTING.replace("inet a", "ip a")
    assert table_of(ruleset, "a") == LISTING
    assert table_of(ruleset, "b") == ODD
    assert table_of(ruleset, "c") is None
    assert table_of("", "a") is None
    assert table_of("table inet a { # handle 3\n}", "a") == "table inet a { # handle 3\n}"


def test_one_table_comes_back_in_its_place_or_goes() -> None:
    now = json.dumps({"nftables": [{"set": {"name": "other"}}]})
    text = restore_text("a", LISTING, now, 0)
    assert text.startswith("table inet a\nflush table inet a\ndelete set inet a other\ntable inet a {\n")
    assert restore_text("a", ODD, None, 0) == "table inet a\n" + aged(ODD, 0)
    assert restore_text("a", None, now, 0) == "table inet a\ndelete table inet a\n"
    with pytest.raises(ConfigError):
        restore_text("a; flush ruleset", None, None, 0)


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
    assert not can_be_restored(LISTING.replace("\tchain c {", f"\tchain c {{\n{line}"))


def test_elements_that_stay() -> None:
    listing = (
        "table inet x {\n\tset a {\n\t\telements = { 192.0.2.3 timeout 1h expires 5m,\n"
        "\t\t\t     192.0.2.2 counter packets 5 bytes 9,\n"
        '\t\t\t     192.0.2.1 comment "packets 1 bytes 2, expires 5s ", 192.0.2.4 ct count over 5 }\n\t}\n}\n'
    )
    expected = ('192.0.2.1 comment "packets 1 bytes 2, expires 5s "', "192.0.2.2 counter packets 0 bytes 0")
    assert lasting_elements(listing) == expected
    assert lasting_elements("table inet x {\n\tset a {\n\t}\n}\n") == ()
