"""``proto.yamux.keepalive``: when to ping, what a silence means, which pong counts."""

import pytest

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.frame import MAX_U32, GoAwayCode
from hyperion.proto.yamux.keepalive import MAX_OUTSTANDING_PINGS, PING_INTERVAL, KeepAlive

NOW = 1_000.0


def expect_dead(keepalive: KeepAlive, now: float) -> None:
    with pytest.raises(YamuxError) as caught:
        keepalive.next_ping(now)
    assert caught.value.reason == "keepalive-timeout"
    assert caught.value.go_away is None


def test_the_first_ping_is_due_at_once() -> None:
    keepalive = KeepAlive()
    assert keepalive.next_timeout() <= NOW
    assert keepalive.next_ping(NOW) is not None
    assert keepalive.next_ping(NOW) is None
    assert keepalive.next_timeout() == NOW + PING_INTERVAL
    assert keepalive.next_ping(NOW + PING_INTERVAL - 0.01) is None
    assert keepalive.next_ping(NOW + PING_INTERVAL) is not None


def test_round_trip() -> None:
    keepalive = KeepAlive()
    assert keepalive.round_trip is None
    nonce = keepalive.next_ping(NOW)
    assert nonce is not None
    assert keepalive.pong(nonce, NOW + 0.25) == 0.25
    assert keepalive.round_trip == 0.25


def test_silence_for_two_pings_is_death() -> None:
    keepalive = KeepAlive()
    keepalive.heard(NOW)
    for number in range(2):
        assert keepalive.next_ping(NOW + number * PING_INTERVAL) is not None
    expect_dead(keepalive, NOW + 2 * PING_INTERVAL)


def test_any_byte_is_life_for_a_while() -> None:
    keepalive = KeepAlive()
    for number in range(MAX_OUTSTANDING_PINGS):
        assert keepalive.next_ping(NOW + number * PING_INTERVAL) is not None
        keepalive.heard(NOW + number * PING_INTERVAL + 1)
    expect_dead(keepalive, NOW + MAX_OUTSTANDING_PINGS * PING_INTERVAL)


def test_a_pause_of_our_own_is_not_the_peer_s_silence() -> None:
    """We were asleep for an hour: one ping is under way, and the answer may be waiting."""
    keepalive = KeepAlive()
    first = keepalive.next_ping(NOW)
    second = keepalive.next_ping(NOW + 3_600)
    assert first is not None
    assert second is not None
    keepalive.heard(NOW + 3_600.1)
    keepalive.pong(first, NOW + 3_600.1)
    keepalive.pong(second, NOW + 3_600.2)
    assert keepalive.next_ping(NOW + 3_600 + PING_INTERVAL) is not None


def test_pongs_nobody_asked_for() -> None:
    keepalive = KeepAlive()
    with pytest.raises(YamuxError) as caught:
        keepalive.pong(1, NOW)
    assert caught.value.go_away == GoAwayCode.PROTOCOL_ERROR
    nonce = keepalive.next_ping(NOW)
    assert nonce is not None
    with pytest.raises(YamuxError):
        keepalive.pong(nonce + 1, NOW)
    keepalive.pong(nonce, NOW)
    with pytest.raises(YamuxError):
        keepalive.pong(nonce, NOW)


def test_pongs_come_in_order() -> None:
    keepalive = KeepAlive()
    first, second = keepalive.next_ping(NOW), keepalive.next_ping(NOW + PING_INTERVAL)
    assert first is not None
    assert second is not None
    with pytest.raises(YamuxError):
        keepalive.pong(second, NOW + PING_INTERVAL)


def test_nonces_stay_in_32_bits() -> None:
    keepalive = KeepAlive()
    keepalive._next_nonce = MAX_U32
    assert keepalive.next_ping(NOW) == MAX_U32
    assert keepalive.next_ping(NOW + PING_INTERVAL) == 1
