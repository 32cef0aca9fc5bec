from ipaddress import ip_address

from hyperion.cli.cautions import cautions
from hyperion.firewall.ruleset import Ruleset
from hyperion.trial.connections import Connection

RULES = Ruleset(8443)
SSH = Connection(ip_address("192.0.2.7"), 40_000, ip_address("198.51.100.1"), 22)
INSIDE = Connection(ip_address("127.0.0.1"), 40_000, ip_address("127.0.0.1"), 22)


def said(rules: Ruleset, login: Connection | None, *, server_runs: bool = True, picks_up: bool = True) -> list[str]:
    return cautions(rules, login, server_runs=server_runs, picks_up=picks_up)


def test_a_login_at_a_port_that_is_not_kept() -> None:
    (text,) = said(RULES, SSH)
    assert text == (
        "you are logged in from 192.0.2.7 at port 22. This session goes on, because what is established stays;"
        " but no new login at port 22 will get in, only through the tunnel. --keep-port 22 leaves it open"
    )
    (text,) = said(Ruleset(8443, keep_ports=(80, 443)), SSH)
    assert "only through the tunnel or at port 80, 443." in text


def test_nothing_to_say() -> None:
    assert said(Ruleset(8443, keep_ports=(22,)), SSH) == []
    assert said(RULES, INSIDE) == []  # through the tunnel already


def test_a_login_that_is_not_known() -> None:
    (text,) = said(RULES, None)
    assert "it is not known how you are logged in" in text
    assert "will get in only through the tunnel" in text


def test_a_kernel_that_takes_nothing_over() -> None:
    assert len(said(Ruleset(8443, keep_ports=(22,)), SSH, picks_up=False)) == 1
    assert said(RULES, INSIDE, picks_up=False) == []


def test_without_a_server() -> None:
    (text,) = said(RULES, INSIDE, server_runs=False)
    assert "only confirm-firewall from a new login can" in text
