import threading

import pytest

from hyperion.firewall.nft import FirewallError, NoSuchObjectError
from hyperion.firewall.ruleset import Ruleset
from hyperion.knockd import firewall as firewall_module
from hyperion.knockd.firewall import Firewall, Outcome, TableMissingError, TableWrongError
from hyperion.proto.control_knockd import MAX_GUARDED_BYTES, GuardedTable, InheritedTable
from tests.helpers.adopted import adopted
from tests.helpers.fake_nft import FakeNft, objects

RULES = Ruleset(8443)
EDITED = "table inet hyperion {\n\tother rules\n}"


@pytest.fixture
def nft() -> FakeNft:
    return FakeNft(RULES)


@pytest.fixture
def firewall(nft: FakeNft) -> Firewall:
    return adopted(nft, RULES, nft.clock)


def test_what_is_right_is_left_alone(nft: FakeNft, firewall: Firewall) -> None:
    nft.loads.clear()
    assert firewall.ensure() is Outcome.KEPT
    assert firewall.in_force()
    assert nft.loads == []
    assert (firewall.backend, firewall.rules) == ("fake", RULES)


def test_a_deleted_table_comes_back_with_what_is_left_to_the_millisecond(nft: FakeNft, firewall: Firewall) -> None:
    firewall.admit("192.0.2.1", 60)
    firewall.admit("2001:db8::1", 10)
    firewall.admit("192.0.2.9", 60)
    firewall.revoke("192.0.2.9")
    nft.now += 12.25
    nft.table, nft.until = None, {}
    assert not firewall.in_force()
    assert firewall.ensure() is Outcome.RESTORED_DELETED
    assert nft.until == {"192.0.2.1": 1_060.0}
    assert nft.loads[-1].startswith("table inet hyperion\ndelete table inet hyperion\n")


def test_an_edited_table_comes_back_as_it_was(nft: FakeNft, firewall: Firewall) -> None:
    firewall.admit("192.0.2.1", 60)
    firewall.admit("192.0.2.2", 60)
    before = nft.table
    nft.now += 10.5
    nft.table = EDITED
    del nft.until["192.0.2.2"]  # the operator's doing
    nft.until["192.0.2.3"] = nft.now + 7.9  # likewise
    assert firewall.ensure() is Outcome.RESTORED_EDITED
    assert nft.table == before
    # Our own to the millisecond; of others nft shows whole seconds only.
    assert nft.until == {"192.0.2.1": 1_060.0, "192.0.2.3": nft.now + 7}


def test_the_same_table_made_anew_gets_its_grants_back(nft: FakeNft, firewall: Firewall) -> None:
    """``flush ruleset`` and the same table in one transaction, as a reload of the host's rules does."""
    firewall.admit("192.0.2.1", 60)
    firewall.admit("192.0.2.2", 5)
    nft.now += 10.5
    nft.handle += 1
    nft.until = {"192.0.2.3": nft.now + 7.9}  # the file that was loaded names it
    assert firewall.in_force()
    assert firewall.ensure() is Outcome.RESTORED_RELOADED
    assert nft.until == {"192.0.2.1": 1_060.0, "192.0.2.3": nft.now + 7.9}
    assert firewall.ensure() is Outcome.KEPT


def test_one_that_was_made_anew_with_other_rules_too(nft: FakeNft, firewall: Firewall) -> None:
    firewall.admit("192.0.2.1", 60)
    nft.handle += 1
    nft.table, nft.until = EDITED, {}
    assert firewall.ensure() is Outcome.RESTORED_EDITED
    assert nft.until == {"192.0.2.1": 1_060.0}
    assert firewall.ensure() is Outcome.KEPT


def test_where_the_kernel_knows_another_time_it_is_right(nft: FakeNft, firewall: Firewall) -> None:
    firewall.admit("192.0.2.1", 60)
    nft.until["192.0.2.1"] = nft.now + 20
    nft.table = EDITED
    firewall.ensure()
    assert nft.until == {"192.0.2.1": nft.now + 20}


def test_used_up_grants_do_not_come_back() -> None:
    rules = Ruleset(8443, one_shot=True)
    nft = FakeNft(rules)
    firewall = adopted(nft, rules, nft.clock)
    firewall.admit("192.0.2.1", 60)
    firewall.admit("192.0.2.2", 60)
    del nft.until["192.0.2.1"]  # by its SYN
    nft.table = EDITED
    firewall.ensure()
    assert set(nft.until) == {"192.0.2.2"}
    nft.handle += 1
    nft.until = {}
    assert firewall.ensure() is Outcome.RESTORED_RELOADED
    assert nft.until == {}
    firewall.admit("192.0.2.2", 60)
    nft.table = None
    nft.until = {}
    firewall.ensure()
    assert nft.until == {}


def test_a_table_that_does_its_work_is_adopted_whatever_else_it_says(nft: FakeNft) -> None:
    nft.table, nft.until = "the operator's own", {"192.0.2.1": nft.now + 30}
    firewall = Firewall(nft, RULES, clock=nft.clock)
    assert not firewall.in_force()
    assert firewall.ensure() is Outcome.ADOPTED
    assert nft.loads == []
    nft.table, nft.until = None, {}
    nft.now += 5
    assert firewall.ensure() is Outcome.RESTORED_DELETED
    restored: tuple[object, object] = (nft.table, nft.until)
    assert restored == ("the operator's own", {"192.0.2.1": nft.now + 25})


WITH_SETS = "table inet hyperion {\n\tset ports {\n\t}\n\tthe operator's own\n}"


def ports(nft: FakeNft, *elements: int) -> None:
    """A rule of the operator opens these, by a set of his own."""
    nft.foreign["ports"] = ", ".join(map(str, elements))
    left = {"payload": {"protocol": "tcp", "field": "dport"}}
    opening = {"match": {"op": "==", "left": left, "right": "@ports"}}
    nft.objects = [
        *objects(RULES),
        {"rule": {"chain": "input", "expr": [opening, {"accept": None}]}},
        {"set": {"name": "ports", "type": "inet_service", "elem": list(elements)}},
    ]


@pytest.fixture
def with_sets(nft: FakeNft) -> Firewall:
    nft.table = WITH_SETS
    ports(nft, 22)
    firewall = Firewall(nft, RULES, clock=nft.clock)
    assert firewall.ensure() is Outcome.ADOPTED
    return firewall


def test_the_operators_sets_come_back_as_they_were_last(nft: FakeNft, with_sets: Firewall) -> None:
    ports(nft, 22, 80)
    assert with_sets.ensure() is Outcome.KEPT
    nft.table = EDITED
    assert with_sets.ensure() is Outcome.RESTORED_EDITED
    assert (nft.table, nft.foreign) == (WITH_SETS, {"ports": "22, 80"})
    nft.table, nft.foreign = None, {}
    assert with_sets.ensure() is Outcome.RESTORED_DELETED
    restored: tuple[object, object] = (nft.table, nft.foreign)
    assert restored == (WITH_SETS, {"ports": "22, 80"})
    assert with_sets.ensure() is Outcome.KEPT


def test_an_element_that_opens_the_gate_is_taken_back(nft: FakeNft, with_sets: Firewall) -> None:
    with_sets.admit("192.0.2.1", 60)
    ports(nft, 22, 8443)
    assert with_sets.ensure() is Outcome.RESTORED_EDITED
    assert (nft.table, nft.foreign, set(nft.until)) == (WITH_SETS, {"ports": "22"}, {"192.0.2.1"})


def test_a_table_made_anew_brings_its_own_elements(nft: FakeNft, with_sets: Firewall) -> None:
    nft.handle += 1
    ports(nft, 80)
    assert with_sets.ensure() is Outcome.RESTORED_RELOADED
    assert nft.foreign == {"ports": "80"}
    nft.table = EDITED
    with_sets.ensure()
    assert nft.foreign == {"ports": "80"}


def test_elements_that_nft_does_not_take_keep_no_gate_open(nft: FakeNft, with_sets: Firewall) -> None:
    load = nft.load

    def refuse(commands: str) -> None:
        if "ports" in commands and "add element" in commands:
            raise FirewallError("syntax error")
        load(commands)

    nft.load = refuse  # type: ignore[method-assign]
    nft.table = EDITED
    assert with_sets.ensure() is Outcome.RESTORED_EDITED
    assert (nft.table, nft.foreign) == (WITH_SETS, {})


def test_where_there_is_no_gate_nothing_is_installed(nft: FakeNft) -> None:
    firewall = Firewall(nft, RULES)
    with pytest.raises(TableMissingError) as caught:
        firewall.ensure()
    assert "print-firewall" in (caught.value.hint or "")
    nft.table = "x"
    nft.objects = objects(Ruleset(80))
    with pytest.raises(TableWrongError, match="port 8443 is not opened to set admitted"):
        firewall.ensure()
    assert nft.loads == []


@pytest.fixture
def successor(nft: FakeNft, with_sets: Firewall) -> Firewall:
    """One that knows what another guarded before it: a table with a set of the operator's."""
    assert with_sets.guarded == GuardedTable(WITH_SETS, "add element inet hyperion ports { 22 }\n")
    firewall = Firewall(nft, RULES, clock=nft.clock)
    assert firewall.guarded is None
    firewall.follow(InheritedTable(with_sets.guarded.listing, with_sets.guarded.elements))
    nft.loads.clear()
    return firewall


def test_what_a_predecessor_guarded_is_put_back(nft: FakeNft, with_sets: Firewall, successor: Firewall) -> None:
    nft.table, nft.until, nft.foreign = None, {}, {}
    assert successor.ensure() is Outcome.RESTORED_DELETED
    restored: tuple[object, object] = (nft.table, nft.foreign)
    assert restored == (WITH_SETS, {"ports": "22"})
    assert successor.guarded == with_sets.guarded
    assert successor.ensure() is Outcome.KEPT
    nft.table = EDITED
    assert successor.ensure() is Outcome.RESTORED_EDITED


def test_in_the_place_of_one_that_is_no_gate_with_the_grants_that_are_in_it(nft: FakeNft, successor: Firewall) -> None:
    good, nft.table, nft.until = nft.objects, EDITED, {"192.0.2.1": nft.now + 30}
    nft.objects, nft.objects_after_load = [item for item in objects(RULES) if "rule" not in item], good
    assert successor.ensure() is Outcome.RESTORED_EDITED
    assert (nft.table, nft.until) == (WITH_SETS, {"192.0.2.1": nft.now + 30})


def test_a_gate_that_is_there_counts_for_more(nft: FakeNft, successor: Firewall) -> None:
    nft.table = "the operator's other one"
    assert successor.ensure() is Outcome.ADOPTED
    assert nft.loads == []


def test_nothing_is_put_back_in_the_place_of_a_strangers_table(nft: FakeNft, successor: Firewall) -> None:
    nft.table, nft.objects = "x", [{"chain": {"name": "input", "type": "filter", "hook": "input", "policy": "accept"}}]
    with pytest.raises(TableWrongError, match="somebody else"):
        successor.ensure()
    assert nft.loads == []


@pytest.mark.parametrize("listing", [None, "", "table inet another {\n}", "flush ruleset"])
def test_nor_when_an_operator_changes_it_or_it_is_none_of_ours(
    nft: FakeNft, successor: Firewall, listing: str | None
) -> None:
    nft.table = None
    if listing is None:
        successor.look_anew()
    else:
        successor.follow(InheritedTable(listing, ""))
    with pytest.raises(TableMissingError):
        successor.ensure()
    assert nft.loads == []


def test_what_does_not_become_a_gate_is_not_put_back_again_and_again(nft: FakeNft, successor: Firewall) -> None:
    nft.table, nft.objects = None, objects(RULES)[:2]
    for _ in range(3):
        with pytest.raises(TableWrongError):
            successor.ensure()
    assert len(nft.loads) == 1
    assert successor.guarded is None


def test_a_table_that_is_too_long_is_not_told(nft: FakeNft, with_sets: Firewall) -> None:
    nft.table = f"{WITH_SETS}\n{'#' * MAX_GUARDED_BYTES}"
    with_sets.look_anew()
    assert with_sets.ensure() is Outcome.ADOPTED
    assert with_sets.guarded == GuardedTable("", "")


def test_a_judge_changes_and_adopts_nothing(nft: FakeNft) -> None:
    firewall = Firewall(nft, nft.rules, clock=nft.clock)
    with pytest.raises(TableMissingError):
        firewall.judge()
    nft.table = "the operator's"
    firewall.judge()
    assert not firewall.in_force()
    nft.objects = []
    with pytest.raises(TableWrongError):
        firewall.judge()
    assert nft.loads == []


def test_a_strangers_table_is_never_replaced(nft: FakeNft) -> None:
    nft.table = "x"
    nft.objects = [{"chain": {"name": "input", "type": "filter", "hook": "input", "policy": "accept"}}]
    with pytest.raises(TableWrongError, match="somebody else"):
        Firewall(nft, RULES).ensure()
    assert nft.loads == []


def test_admitting_again_extends(nft: FakeNft, firewall: Firewall) -> None:
    firewall.admit("192.0.2.1", 60)
    nft.now += 59
    firewall.admit("::ffff:192.0.2.1", 60)
    assert nft.until == {"192.0.2.1": 1_119.0}
    assert firewall.grants() == {"192.0.2.1": 60.0}


def test_a_grant_that_ends_between_add_and_delete_is_tried_again(nft: FakeNft, firewall: Firewall) -> None:
    load, calls = nft.load, []

    def once(commands: str) -> None:
        calls.append(commands)
        if len(calls) == 1:
            raise NoSuchObjectError("element")
        load(commands)

    nft.load = once  # type: ignore[method-assign]
    firewall.admit("192.0.2.1", 60)
    assert len(calls) == 2
    assert set(nft.until) == {"192.0.2.1"}


def test_a_failure_is_not_remembered_as_a_grant(nft: FakeNft, firewall: Firewall) -> None:
    nft.fault = FirewallError("no")
    for call in (lambda: firewall.admit("192.0.2.1", 60), firewall.grants, firewall.ensure):
        with pytest.raises(FirewallError, match="no"):
            call()
    nft.fault = None
    nft.table = None
    firewall.ensure()
    assert nft.until == {}


def test_a_revocation_holds_even_if_nft_fails_just_then(nft: FakeNft, firewall: Firewall) -> None:
    firewall.admit("192.0.2.1", 60)
    nft.fault = FirewallError("no")
    with pytest.raises(FirewallError):
        firewall.revoke("192.0.2.1")
    nft.fault, nft.table, nft.until = None, None, {}
    firewall.ensure()
    assert nft.until == {}


@pytest.mark.parametrize(("source", "ttl"), [("x", 5.0), ("192.0.2.1 }", 5.0), ("192.0.2.1", 0.0), ("192.0.2.1", 1e9)])
def test_nonsense_never_reaches_nft(nft: FakeNft, firewall: Firewall, source: str, ttl: float) -> None:
    nft.loads.clear()
    with pytest.raises(ValueError, match=r"."):
        firewall.admit(source, ttl)
    assert nft.loads == []


def test_the_memory_of_grants_is_bounded(nft: FakeNft, firewall: Firewall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall_module, "SET_SIZE", 10)
    for number in range(200):
        nft.now += 1
        firewall.admit(f"192.0.2.{number}", 5)
        assert len(firewall._granted_until) <= 10


def test_threads_wait_for_each_other(nft: FakeNft, firewall: Firewall) -> None:
    load, entered = nft.load, threading.Semaphore(1)

    def alone(commands: str) -> None:
        assert entered.acquire(blocking=False)
        load(commands)
        entered.release()

    nft.load = alone  # type: ignore[method-assign]
    threads = [threading.Thread(target=firewall.admit, args=(f"192.0.2.{number}", 60)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(firewall.grants()) == 20


def test_a_restoration_never_learns_from_what_it_finds(nft: FakeNft, firewall: Firewall) -> None:
    good, load = nft.table, nft.load

    def load_and_meddle(commands: str) -> None:
        load(commands)
        nft.table = "edited at once"

    nft.table, nft.load = None, load_and_meddle  # type: ignore[method-assign]
    assert firewall.ensure() is Outcome.RESTORED_DELETED
    nft.load = load  # type: ignore[method-assign]
    assert firewall.ensure() is Outcome.RESTORED_EDITED
    assert nft.table == good
    firewall.look_anew()
    assert firewall.ensure() is Outcome.ADOPTED
