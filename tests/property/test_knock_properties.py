"""Knock and replay memory against anything Hypothesis can think of."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperion.proto.knock import Knock, KnockTable, Verdict, derive_knock_key, open_knock, seal
from hyperion.proto.replay import ReplayGuard
from tests.helpers.mutations import mutated

SERVER = bytes([7] * 32)
KEY = derive_knock_key(bytes(32))
TABLE = KnockTable(SERVER, {"fleet": KEY})


@given(st.binary(max_size=100))
@settings(max_examples=2_000)
def test_any_datagram_gets_a_verdict_and_none_is_accepted(datagram: bytes) -> None:
    verdict, knock = open_knock(datagram, TABLE)
    assert verdict in {Verdict.WRONG_LENGTH, Verdict.WRONG_MAGIC, Verdict.NOT_AUTHENTIC}
    assert knock is None


@given(st.binary(min_size=40, max_size=40))
def test_the_right_form_without_the_key_is_not_authentic(rest: bytes) -> None:
    assert open_knock(b"HVPK" + rest, TABLE) == (Verdict.NOT_AUTHENTIC, None)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1), st.binary(min_size=12, max_size=12))
def test_seal_and_open_are_inverse(timestamp: int, port: int, nonce: bytes) -> None:
    datagram = seal(KEY, SERVER, timestamp, port, nonce)
    assert open_knock(datagram, TABLE) == (Verdict.ACCEPTED, Knock("fleet", timestamp, port, nonce))


steps = st.lists(
    st.tuples(st.integers(-100, 100), st.integers(-35, 35), st.integers(0, 5), st.booleans()), min_size=1, max_size=60
)


@given(steps)
@settings(max_examples=500)
def test_no_knock_is_accepted_twice_whatever_the_clock_does(steps: list[tuple[int, int, int, bool]]) -> None:
    """The clock wanders both ways, knocks are replayed at random, the process restarts now and then."""
    now, guard, accepted = 10_000, ReplayGuard(30), set()
    for step, offset, nonce, restart in steps:
        now += step
        if restart:
            state, guard = guard.dump(now), ReplayGuard(30)
            guard.load(state, now)
        # few timestamps and nonces, so that the same knock comes again and again
        knock = Knock("fleet", (now + offset) // 20 * 20, 8443, bytes(11) + bytes([nonce]))
        if guard.judge(knock, "net", now) is Verdict.ACCEPTED:
            assert (knock.timestamp, knock.nonce) not in accepted
            assert abs(now - knock.timestamp) <= 30
            accepted.add((knock.timestamp, knock.nonce))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=200))
def test_bounds_hold(knocks: list[tuple[int, int]]) -> None:
    guard = ReplayGuard(30, max_nonces=20, max_per_group=8)
    groups: dict[int, int] = {}
    for group, nonce in knocks:
        knock = Knock("fleet", 1_000, 8443, bytes([nonce] * 12))
        if guard.judge(knock, str(group), 1_000) is Verdict.ACCEPTED:
            groups[group] = groups.get(group, 0) + 1
    assert len(guard) == sum(groups.values()) <= 20
    assert all(count <= 8 for count in groups.values())


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_a_million_changed_knocks(count: int) -> None:
    """Bits flipped, bytes cut and added, pieces of two knocks, noise of the right form: none accepted, none raises."""
    chance, verdicts = random.Random(13), Counter[Verdict]()
    right = [seal(KEY, SERVER, 1_000 + number, 8443, chance.randbytes(12)) for number in range(64)]
    for number in range(count):
        one, other = right[number % 64], right[(number + 7) % 64]
        verdict, knock = open_knock(mutated(one, other, chance), TABLE)
        assert knock is None
        verdicts[verdict] += 1
    assert verdicts.total() == count
    assert set(verdicts) == {Verdict.WRONG_LENGTH, Verdict.WRONG_MAGIC, Verdict.NOT_AUTHENTIC}
