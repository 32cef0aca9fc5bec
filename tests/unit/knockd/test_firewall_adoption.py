"""A table that changes while it is judged."""

import pytest

from hyperion.firewall.nft import FirewallError
from hyperion.firewall.ruleset import Ruleset
from hyperion.knockd.firewall import Firewall, Outcome
from tests.helpers.fake_nft import FakeNft

RULES = Ruleset(8443)
EDITED = "table inet hyperion {\n\tother rules\n}"


@pytest.fixture
def nft() -> FakeNft:
    return FakeNft(RULES)


def test_what_is_adopted_is_what_was_judged(nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody mends the table just between the two listings of it: what was wrong is not put back in its place."""
    mended = ["table inet hyperion {\n\tbetter\n}", "table inet hyperion {\n\tmended\n}"]
    list_json = nft.list_json

    def meddle(*what: str) -> str:
        if mended:
            nft.table = mended.pop(0)
        return list_json(*what)

    monkeypatch.setattr(nft, "list_json", meddle)
    nft.table = EDITED
    firewall = Firewall(nft, RULES, clock=nft.clock)
    assert firewall.ensure() is Outcome.ADOPTED
    assert (nft.table, nft.loads) == ("table inet hyperion {\n\tmended\n}", [])
    assert firewall.ensure() is Outcome.KEPT


def test_a_table_that_never_rests_is_not_adopted(nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    list_json = nft.list_json

    def meddle(*what: str) -> str:
        nft.table = f"{nft.table} "
        return list_json(*what)

    monkeypatch.setattr(nft, "list_json", meddle)
    nft.table = EDITED
    firewall = Firewall(nft, RULES, clock=nft.clock)
    with pytest.raises(FirewallError, match="is being changed"):
        firewall.ensure()
    assert not firewall.in_force()
    assert nft.loads == []
