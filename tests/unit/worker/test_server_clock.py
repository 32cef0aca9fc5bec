"""What a client knows of its server's clock."""

from hyperion.worker.server_clock import SURE_MS, ServerClock


def test_without_news_it_is_our_own() -> None:
    clock = ServerClock()
    assert clock.skew_ms is None
    assert [clock.timestamp(1_000.9, turn) for turn in range(3)] == [1_000] * 3


def test_half_way_between_question_and_answer() -> None:
    clock = ServerClock()
    clock.learn(1_003_100, sent_at=1_000.0, received_at=1_000.2)
    assert clock.skew_ms == 3_000
    assert clock.timestamp(2_000.0, 0) == clock.timestamp(2_000.0, 1) == 2_003
    clock.learn(998_000, sent_at=1_000.0, received_at=1_000.0)
    assert clock.skew_ms == -2_000


def test_a_large_difference_is_doubted_every_other_time() -> None:
    """The client's clock may have been set right since."""
    for skew in (SURE_MS + 1, -SURE_MS - 1, 4 * 3_600_000):
        clock = ServerClock(skew)
        times = [clock.timestamp(100_000.0, turn) for turn in range(4)]
        assert times == [int(100_000 + skew / 1000), 100_000] * 2
    assert ServerClock(SURE_MS).timestamp(0.0, 1) == SURE_MS // 1000


def test_it_never_goes_below_zero() -> None:
    assert ServerClock(-5_000).timestamp(1.0, 0) == 0
