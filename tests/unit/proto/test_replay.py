"""No knock twice: around both ends of the window, over clock steps, over restarts, and with a full memory."""

import msgspec
import pytest

from hyperion.proto.knock import Knock, Verdict
from hyperion.proto.replay import MAX_NONCES_PER_GROUP, ReplayGuard, ReplayState

NOW = 1_700_000_000
WINDOW = 30


def knock(timestamp: int = NOW, nonce: int = 0, holder: str = "fleet") -> Knock:
    return Knock(holder, timestamp, 8443, nonce.to_bytes(12, "big"))


def restarted(guard: ReplayGuard, now: int) -> ReplayGuard:
    """A successor that read what the predecessor wrote."""
    written = msgspec.json.encode(guard.dump(now))
    successor = ReplayGuard(WINDOW)
    successor.load(msgspec.json.decode(written, type=ReplayState), now)
    return successor


@pytest.mark.parametrize("offset", [-31, -30, -29, 0, 29, 30, 31])
def test_the_window_includes_both_ends(offset: int) -> None:
    expected = Verdict.ACCEPTED if abs(offset) <= WINDOW else Verdict.STALE
    assert ReplayGuard(WINDOW).judge(knock(NOW + offset), "net", NOW) is expected


@pytest.mark.parametrize("restart", [False, True])
def test_61_timestamps_replayed_each_second_for_two_windows(restart: bool) -> None:
    second_acceptances = replays = 0
    for offset in range(-WINDOW, WINDOW + 1):
        guard = ReplayGuard(WINDOW)
        assert guard.judge(knock(NOW + offset), "net", NOW) is Verdict.ACCEPTED
        for later in range(2 * WINDOW + 3):
            if restart:
                guard = restarted(guard, NOW + later)
            replays += 1
            second_acceptances += guard.judge(knock(NOW + offset), "elsewhere", NOW + later) is Verdict.ACCEPTED
    assert replays == 61 * 63
    assert second_acceptances == 0


@pytest.mark.parametrize("step", [5, 29, 30, 31, 61, 3_600])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_step_and_back_lets_nothing_in_twice(step: int, sign: int) -> None:
    guard = ReplayGuard(WINDOW)
    assert guard.judge(knock(), "net", NOW) is Verdict.ACCEPTED
    guard.judge(knock(NOW + sign * step, nonce=1), "net", NOW + sign * step)
    for now in range(NOW - 40, NOW + 40):
        assert guard.judge(knock(), "net", now) is not Verdict.ACCEPTED


def test_a_false_step_of_the_clock_does_not_lock_out_for_long() -> None:
    """An hour ahead and back: what was forgotten ended within the window, so new knocks work at once after it."""
    guard = ReplayGuard(WINDOW)
    guard.judge(knock(), "net", NOW)
    assert guard.judge(knock(NOW + 3_600, nonce=1), "net", NOW + 3_600) is Verdict.ACCEPTED
    assert guard.judge(knock(NOW + 1, nonce=2), "net", NOW + 1) is Verdict.ACCEPTED


def test_a_forgotten_knock_is_dropped_from_memory() -> None:
    guard = ReplayGuard(WINDOW)
    guard.judge(knock(NOW + WINDOW), "net", NOW)
    for now, size in ((NOW + 2 * WINDOW, 1), (NOW + 2 * WINDOW + 1, 0)):
        guard.dump(now)
        assert len(guard) == size


def test_a_holder_cannot_spend_the_nonce_of_another() -> None:
    guard = ReplayGuard(WINDOW)
    assert guard.judge(knock(holder="eve"), "net", NOW) is Verdict.ACCEPTED
    assert guard.judge(knock(holder="anna"), "net", NOW) is Verdict.ACCEPTED
    assert guard.judge(knock(holder="anna"), "net", NOW) is Verdict.REPLAYED


def test_a_full_group_shuts_out_itself_only() -> None:
    guard = ReplayGuard(WINDOW)
    for nonce in range(MAX_NONCES_PER_GROUP):
        assert guard.judge(knock(nonce=nonce), "crowd", NOW) is Verdict.ACCEPTED
    assert guard.judge(knock(nonce=10**6), "crowd", NOW) is Verdict.MEMORY_FULL
    assert guard.judge(knock(nonce=10**6), "other", NOW) is Verdict.ACCEPTED
    later = NOW + WINDOW + 1
    assert guard.judge(knock(later, nonce=5), "crowd", later) is Verdict.ACCEPTED


def test_a_full_memory_fails_closed_and_recovers() -> None:
    guard = ReplayGuard(WINDOW, max_nonces=100)
    for nonce in range(100):
        assert guard.judge(knock(nonce=nonce), f"net{nonce}", NOW) is Verdict.ACCEPTED
    assert guard.judge(knock(nonce=100), "net100", NOW) is Verdict.MEMORY_FULL
    assert guard.judge(knock(nonce=7), "net7", NOW) is Verdict.REPLAYED
    later = NOW + WINDOW + 1
    assert guard.judge(knock(later, nonce=100), "net100", later) is Verdict.ACCEPTED


def test_memory_follows_the_clock() -> None:
    guard = ReplayGuard(WINDOW)
    largest = 0
    for count in range(20_000):
        now = NOW + count // 10
        assert guard.judge(knock(now, nonce=count), f"net{count % 7}", now) is Verdict.ACCEPTED
        largest = max(largest, len(guard))
    assert largest <= 10 * (WINDOW + 1)
    assert len(guard.dump(NOW + 10**6).remembered) == 0


def test_a_restart_keeps_what_was_forgotten() -> None:
    guard = ReplayGuard(WINDOW)
    guard.judge(knock(), "net", NOW)
    successor = restarted(guard, NOW + 3_600)
    assert len(successor) == 0
    assert successor.judge(knock(), "net", NOW) is Verdict.STALE


def test_loading_twice_changes_nothing() -> None:
    guard = ReplayGuard(WINDOW)
    guard.judge(knock(), "net", NOW)
    state = guard.dump(NOW)
    guard.load(state, NOW)
    guard.load(state, NOW)
    assert guard.dump(NOW) == state
    assert guard.judge(knock(NOW + 60, nonce=1), "net", NOW + 60) is Verdict.ACCEPTED
    assert len(guard) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_was_ahead_for_long_refuses_what_it_took_then_and_nothing_else(restart: bool) -> None:
    """Two hours ahead, a knock every ten seconds for an hour, then set back: each of them is tried each second."""
    ahead = NOW + 7_200
    guard = ReplayGuard(WINDOW)
    taken = [knock(ahead + second, nonce=second) for second in range(0, 3_600, 10)]
    for one in taken:
        assert guard.judge(one, "net", one.timestamp) is Verdict.ACCEPTED
    shut = 0
    for now in range(NOW + 3_600, ahead + 3_700):
        if restart and now % 100 == 0:
            guard = restarted(guard, now)
        for one in taken:
            if abs(one.timestamp - now) <= WINDOW:
                assert guard.judge(one, "net", now) is not Verdict.ACCEPTED
        shut += guard.judge(knock(now, nonce=now), "net", now) is not Verdict.ACCEPTED
    assert shut <= len(taken)


def test_what_nobody_remembers_is_refused_for_one_window_after_a_step_back() -> None:
    guard = ReplayGuard(WINDOW)
    guard.load(ReplayState(NOW + 7_200 + WINDOW, ()), NOW + 7_200)
    assert guard.shut_until(NOW + 7_200) == NOW + 7_201
    assert guard.shut_until(NOW) == NOW + WINDOW + 1
    for now in range(NOW, NOW + WINDOW + 1):
        assert guard.judge(knock(now, nonce=now), "net", now) is Verdict.STALE
        assert guard.shut_until(now) == NOW + WINDOW + 1
    now = NOW + WINDOW + 1
    assert guard.judge(knock(now), "net", now) is Verdict.ACCEPTED
    assert guard.shut_until(now) is None


def test_another_window_shifts_what_was_forgotten() -> None:
    guard = ReplayGuard(WINDOW)
    guard.judge(knock(), "net", NOW)
    state = guard.dump(NOW + WINDOW + 1)
    assert state.forgotten == ((NOW + WINDOW, NOW + WINDOW),)
    for window in (5, 300):
        other = ReplayGuard(window)
        other.load(state, NOW)
        assert other.judge(knock(), "net", NOW) is Verdict.STALE
        assert other.judge(knock(NOW + 1, nonce=1), "net", NOW) is Verdict.ACCEPTED
