from typing import cast

import pytest

from hyperion.firewall.nft import FirewallError
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.trial.plan import NotOursError, difference, make_plan, others, take_snapshot, undo
from tests.helpers.fake_nft_program import NEW, OLD, THEIRS, FakeNftProgram

RULES = Ruleset(8443, set="knock_allow")


def program(nft: FakeNftProgram) -> NftProgram:
    return cast(NftProgram, nft)


def test_where_there_is_no_table() -> None:
    nft = FakeNftProgram()
    plan = make_plan(program(nft), RULES)
    assert plan.load == ruleset_text(RULES)
    assert (plan.snapshot.before, plan.snapshot.ruleset) == (None, THEIRS)
    assert nft.checks == [plan.load]
    assert nft.loads == []
    nft.load(plan.load)
    assert difference(program(nft), plan.snapshot) == "the table is there"
    undo(program(nft), plan.snapshot, 1.0)
    assert nft.ours is None
    assert difference(program(nft), plan.snapshot) is None


def test_where_there_is_one_both_ways_are_checked_first() -> None:
    nft = FakeNftProgram(OLD)
    plan = make_plan(program(nft), RULES)
    assert plan.snapshot.before == OLD
    assert [text.splitlines()[1] for text in nft.checks] == ["flush table inet hyperion"] * 2
    assert nft.checks[0].endswith(OLD)
    assert nft.checks[1] == plan.load
    nft.load(plan.load)
    assert difference(program(nft), plan.snapshot) == "the rules differ"
    undo(program(nft), plan.snapshot, 1.0)
    assert nft.ours == OLD
    nft.ours = None
    assert difference(program(nft), plan.snapshot) == "the table is gone"


def test_a_table_that_nft_could_not_put_back() -> None:
    nft = FakeNftProgram(OLD)
    nft.check_fault = FirewallError("syntax error")
    with pytest.raises(NotOursError, match="nft could not put table inet hyperion back: syntax error"):
        make_plan(program(nft), RULES)
    nft.check_fault = None
    nft.ours = OLD.replace("\told", "\txt match recent")
    with pytest.raises(NotOursError, match="rules of iptables"):
        make_plan(program(nft), RULES)
    assert nft.loads == []


def test_what_the_operator_added_and_will_lose() -> None:
    nft = FakeNftProgram(OLD.replace("\tchain", "\tset trusted {\n\t}\n\tchain", 1))
    assert make_plan(program(nft), RULES).drops == ("set trusted",)
    nft.ours = OLD
    assert make_plan(program(nft), RULES).drops == ()


def test_a_table_of_somebody_else() -> None:
    nft = FakeNftProgram(NEW)
    with pytest.raises(NotOursError, match="belongs to somebody else"):
        make_plan(program(nft), RULES)
    nft.ours = NEW.replace("{\n", '{\n\tcomment "hyperion: the gate. Made by print-firewall"\n', 1)
    make_plan(program(nft), RULES)  # its set has another name now, but the table says whose it is


def test_the_others() -> None:
    nft = FakeNftProgram(OLD)
    snapshot = take_snapshot(program(nft), "hyperion")
    assert snapshot.others == others(NEW + THEIRS, "hyperion") == others(THEIRS, "hyperion")
    nft.theirs += "table ip more {\n}\n"
    assert snapshot.others != take_snapshot(program(nft), "hyperion").others
