import pytest

from hyperion.flood import (
    LINE_SECONDS,
    MAX_COUNTED_SOURCES,
    MAX_LINES,
    MAX_REASONS,
    SUMMARY_SECONDS,
    RejectionMeter,
    Suppressed,
    source_group,
)


def test_a_source_has_one_line_a_second_and_the_rest_is_counted() -> None:
    meter = RejectionMeter()
    admitted = [meter.admit("192.0.2.1", "bad-mac", 100 + tick / 10) for tick in range(30)]
    assert [tick for tick, yes in enumerate(admitted) if yes] == [0, 10, 20]
    assert meter.summary(100.1 + SUMMARY_SECONDS) == [Suppressed("bad-mac", 27, 1)]


def test_neighbours_in_one_network_share_the_line_and_strangers_do_not() -> None:
    meter = RejectionMeter()
    assert meter.admit("192.0.2.1", "replay", 0.0)
    assert not meter.admit("192.0.2.255", "replay", 0.0)
    assert meter.admit("192.0.3.1", "replay", 0.0)
    assert meter.admit("2001:db8::1", "replay", 0.0)
    assert not meter.admit("2001:db8::ffff:1", "replay", 0.0)
    assert meter.admit("2001:db8:0:1::1", "replay", 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.77", True),
        ("192.0.2.1", "::ffff:c000:24d", True),
        ("192.0.2.1", "::c000:201", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.3.1", False),
        ("", "not an address", True),
        ("\x00", "\ud800", True),
    ],
)
def test_groups(one: str, other: str, *, same: bool) -> None:
    assert (source_group(one) == source_group(other)) is same


def test_a_flood_from_everywhere_is_bounded_in_lines_and_in_memory() -> None:
    meter = RejectionMeter()
    lines = 0
    for number in range(100_000):
        source = f"10.{number >> 8 & 255}.{number & 255}.{number >> 16}"
        lines += meter.admit(source, f"reason-{number % 1000}", number / 10_000)
        assert len(meter._recent) <= MAX_LINES
    seconds = 10
    assert 0 < lines <= MAX_LINES * seconds
    assert len(meter._sources) == MAX_COUNTED_SOURCES
    summary = meter.summary(SUMMARY_SECONDS + LINE_SECONDS)
    assert len(summary) == MAX_REASONS + 1
    assert summary[0].reason == "other"
    assert sum(item.rejections for item in summary) + lines == 100_000


def test_the_summary_comes_once_a_minute_and_starts_anew() -> None:
    meter = RejectionMeter()
    assert meter.next_timeout() is None
    assert meter.summary(1e9) == []
    meter.admit("192.0.2.1", "replay", 10.0)
    assert meter.next_timeout() is None
    meter.admit("192.0.2.2", "replay", 10.0)
    meter.admit("192.0.2.2", "bad-mac", 10.5)
    meter.admit("192.0.2.3", "bad-mac", 10.6)
    assert meter.next_timeout() == 10.0 + SUMMARY_SECONDS
    assert meter.summary(69.9) == []
    assert meter.summary(70.0) == [Suppressed("bad-mac", 2, 1), Suppressed("replay", 1, 1)]
    assert meter.summary(200.0) == []
    meter.admit("192.0.2.1", "replay", 300.0)
    meter.admit("192.0.2.1", "replay", 300.0)
    assert meter.summary(359.9) == []
    assert meter.summary(360.0) == [Suppressed("replay", 1, 1)]
