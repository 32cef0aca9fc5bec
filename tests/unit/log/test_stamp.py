from typing import Any

from hyperion.log.stamp import Stamp, iso_time


def test_time_is_utc_with_milliseconds_and_numbers_count_from_one() -> None:
    times = iter([0.0, 0.9996, 1.0, 1_769_860_800.123, 1_769_860_800.999_999])
    stamp = Stamp(lambda: next(times))
    seen: list[Any] = [stamp(None, "msg", {"event": "x"}) for _ in range(5)]
    assert [item["timestamp"] for item in seen] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.000Z",
        "2026-01-31T12:00:00.123Z",
        "2026-01-31T12:00:00.999Z",
    ]
    assert [item["sequence"] for item in seen] == [1, 2, 3, 4, 5]
    assert seen[0]["event"] == "x"


def test_the_time_as_bytes_is_the_same() -> None:
    times = iter([0.9996, 0.9996, 0.9997, 1.0, 1.0])
    stamp = Stamp(lambda: next(times))
    assert [stamp.now_bytes() for _ in range(4)] == [b"1970-01-01T00:00:00.999Z"] * 3 + [b"1970-01-01T00:00:01.000Z"]
    assert stamp.now() == "1970-01-01T00:00:01.000Z"


def test_a_time_as_an_index_takes_it() -> None:
    assert iso_time(0.0) == "1970-01-01T00:00:00.000Z"
    assert iso_time(1_769_860_800.1239) == "2026-01-31T12:00:00.123Z"
