import pytest

from hyperion.firewall.nft import NoSuchObjectError
from hyperion.firewall.ruleset import Ruleset
from hyperion.knockd.foreign_sets import REST_FACTOR, ForeignSets
from tests.helpers.fake_nft import FakeNft

RULES = Ruleset(8443)
LIVE = "table inet hyperion {\n\tset admitted {\n\t}\n\tset trusted {\n\t}\n}\n"
PLACE = ("set", "trusted")


class SlowNft(FakeNft):
    """Takes a second for a listing."""

    def list_whole(self, *what: str) -> str:
        self.now += 1.0
        return super().list_whole(*what)


@pytest.fixture
def nft() -> SlowNft:
    nft = SlowNft(RULES)
    nft.table, nft.foreign = LIVE, {"trusted": "192.0.2.1"}
    return nft


def test_what_changed_is_read_and_put_back(nft: SlowNft) -> None:
    sets = ForeignSets(nft, RULES, nft.clock)
    found = sets.read_changed(LIVE, anew=False)
    assert found == {PLACE: ("192.0.2.1",)}
    assert sets.text() == ""
    sets.remember(found)
    assert sets.text() == "add element inet hyperion trusted { 192.0.2.1 }\n"
    assert sets.read_changed(LIVE, anew=True) is None


def test_reading_has_its_price(nft: SlowNft) -> None:
    sets = ForeignSets(nft, RULES, nft.clock)
    sets.remember(sets.read(LIVE))
    nft.foreign["trusted"] = "192.0.2.2"
    nft.now += REST_FACTOR - 0.1
    before = nft.now
    assert sets.read_changed(LIVE, anew=False) is None
    assert nft.now == before  # nobody was asked
    assert sets.read_changed(LIVE, anew=True) == {PLACE: ("192.0.2.2",)}
    nft.now += REST_FACTOR
    assert sets.read_changed(LIVE, anew=False) == {PLACE: ("192.0.2.2",)}


def test_a_table_that_goes_while_it_is_read_changes_nothing(nft: SlowNft) -> None:
    sets = ForeignSets(nft, RULES, nft.clock)
    nft.table = None
    assert sets.read_changed(LIVE, anew=False) is None
    with pytest.raises(NoSuchObjectError):
        sets.read(LIVE)


def test_a_table_without_such_sets_costs_nothing(nft: SlowNft) -> None:
    before = nft.now
    assert ForeignSets(nft, RULES, nft.clock).read("table inet hyperion {\n\tset admitted {\n\t}\n}\n") == {}
    assert nft.now == before
