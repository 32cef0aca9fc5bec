import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.proto.admins import AdminRule, Roster

RULES = st.builds(
    AdminRule,
    public_key=st.binary(min_size=32, max_size=32),
    name=st.text(min_size=1, max_size=64),
    allow=st.lists(st.integers(1, 65_535), max_size=5).map(tuple),
    expires=st.none() | st.floats(0, 1e11),
)


@given(st.lists(RULES, max_size=8))
def test_what_goes_in_comes_out(rules: list[AdminRule]) -> None:
    roster = Roster.of(rules)
    wire = msgspec.msgpack.encode(roster)
    assert msgspec.msgpack.decode(wire, type=Roster).rules() == tuple(rules)
    assert len(roster) == len(rules)
    assert len(roster.lists) == len({rule.allow for rule in rules})


def test_a_list_that_many_share_travels_once() -> None:
    ports = tuple(range(1, 1001))
    roster = Roster.of(AdminRule(bytes([number] * 32), f"admin{number}", ports) for number in range(100))
    assert roster.lists == (ports,)
    assert len(msgspec.msgpack.encode(roster)) < 10_000


@pytest.mark.parametrize("place", [-1, 1, 2**40])
def test_a_list_that_is_not_there(place: int) -> None:
    with pytest.raises(ValueError, match="no such list"):
        Roster(((22,),), ((bytes(32), "alice", place, None),))
    wire = msgspec.msgpack.encode([[[22]], [[bytes(32), "alice", place, None]]])
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(wire, type=Roster)


def test_the_end_itself_is_outside() -> None:
    rule = AdminRule(bytes(32), "alice", (), expires=100.0)
    assert [rule.expired(now) for now in (0.0, 99.999, 100.0, 101.0)] == [False, False, True, True]
    assert not AdminRule(bytes(32), "alice", ()).expired(1e18)
