"""``proto.yamux.resets``: how many streams may be reset before they are answered."""

import pytest

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux.frame import GoAwayCode
from hyperion.proto.yamux.resets import MAX_HASTY_RESETS, HastyResets


def test_so_many_at_once_and_no_more() -> None:
    resets = HastyResets()
    for _ in range(MAX_HASTY_RESETS):
        resets.add(50.0)
    with pytest.raises(YamuxError) as caught:
        resets.add(50.0)
    assert (caught.value.reason, caught.value.go_away) == ("hasty-resets", GoAwayCode.PROTOCOL_ERROR)


def test_time_wears_them_off() -> None:
    resets = HastyResets(10)
    for second in range(5):
        for _ in range(10):
            resets.add(50.0 + second)
    resets.add(54.5)  # half of them are gone
    for _ in range(4):
        resets.add(54.5)
    with pytest.raises(YamuxError):
        resets.add(54.5)


def test_a_steady_rate_below_the_limit_goes_on_for_ever() -> None:
    resets = HastyResets(10)
    for tenth in range(500):
        resets.add(50.0 + tenth / 10)
