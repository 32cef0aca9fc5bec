"""What is told, and what is only counted."""

from typing import Any

import pytest

from hyperion import log
from hyperion.events import LogEvent
from hyperion.knockd.report import Report, knock_id, skew_ms
from hyperion.proto.control_knockd import KnockCounts
from hyperion.proto.knock import Knock

KNOCK = Knock("fleet", 1_000, 8443, bytes(range(12)))
Lines = list[tuple[str, dict[str, Any], str | None]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    seen: Lines = []

    def event(what: LogEvent, fields: dict[str, Any] | None = None, *, reason: str | None = None, **_: Any) -> None:
        seen.append((what.code, fields or {}, reason))

    monkeypatch.setattr(log, "event", event)
    return seen


def test_an_accepted_knock_has_its_line(lines: Lines) -> None:
    Report(8443).accepted(KNOCK, "192.0.2.1", 40_000, 1_002.5)
    assert lines == [
        (
            "HYP1001I",
            {
                "destination.port": 8443,
                "source.ip": "192.0.2.1",
                "source.port": 40_000,
                "hyperion.knock.id": knock_id(KNOCK.nonce),
                "hyperion.knock.skew_ms": -2_500,
            },
            None,
        )
    ]


def test_refusals_tell_source_reason_and_clock_in_one_line(lines: Lines) -> None:
    report = Report(8443)
    report.refused("stale", KNOCK, "192.0.2.1", 40_000, 900.0, 1.0)
    report.rejected("not-authentic", KNOCK.nonce, "198.51.100.1", 40_001, 1.0)
    (code, fields, reason), (code2, fields2, reason2) = lines
    assert (code, reason, code2, reason2) == ("HYP1002W", "stale", "HYP1002W", "not-authentic")
    assert fields["source.ip"] == "192.0.2.1"
    assert fields["hyperion.knock.skew_ms"] == 100_000
    assert fields2["source.ip"] == "198.51.100.1"
    assert fields["hyperion.knock.id"] == fields2["hyperion.knock.id"] == knock_id(KNOCK.nonce)


def test_a_flood_is_counted_and_summed_up(lines: Lines) -> None:
    report = Report(8443)
    for number in range(10_000):
        report.rejected("not-authentic", bytes(12), f"198.51.100.{number % 200}", 40_000, number / 1_000)
    assert len(lines) == 10  # one a second of that network
    report.summarise(100.0)
    assert lines[-1][0] == "HYP2004W"
    assert lines[-1][1]["hyperion.suppressed_count"] == 9_990
    assert report.changed_counts() == KnockCounts({"not-authentic": 10_000}, 0)


def test_junk_has_no_line(lines: Lines) -> None:
    report = Report(8443)
    for _ in range(1_000):
        report.junk("wrong-magic")
    report.summarise(1e6)
    assert lines == []
    assert report.changed_counts() == KnockCounts({"wrong-magic": 1_000}, 0)


def test_counts_are_told_when_they_change() -> None:
    report = Report(8443)
    assert report.changed_counts() is None
    report.junk("wrong-magic")
    assert report.changed_counts() == KnockCounts({"wrong-magic": 1}, 0)
    assert report.changed_counts() is None
    report.dropped(5, 1.0)
    assert report.changed_counts() == KnockCounts({"wrong-magic": 1}, 5)


def test_dropped_packets_have_a_line_a_minute(lines: Lines) -> None:
    report = Report(8443)
    for now, total in ((1.0, 0), (2.0, 5), (3.0, 6), (61.0, 7), (62.0, 9), (500.0, 9)):
        report.dropped(total, now)
    told = [(fields["hyperion.sniffer.dropped"], reason) for _, fields, reason in lines]
    assert told == [(5, "queue-full"), (4, "queue-full")]


def test_the_id_is_short_and_tells_no_nonce() -> None:
    assert len(knock_id(KNOCK.nonce)) == 16
    assert KNOCK.nonce.hex() not in knock_id(KNOCK.nonce)
    assert knock_id(KNOCK.nonce) != knock_id(bytes(12))


@pytest.mark.parametrize(("timestamp", "wall", "skew"), [(10, 10.0, 0), (10, 9.5, 500), (10, 40.25, -30_250)])
def test_skew(timestamp: int, wall: float, skew: int) -> None:
    assert skew_ms(Knock("fleet", timestamp, 1, bytes(12)), wall) == skew


def test_an_absurd_skew_fits_into_a_log() -> None:
    assert skew_ms(Knock("fleet", 2**64 - 1, 1, bytes(12)), 0.0) == 2**53
