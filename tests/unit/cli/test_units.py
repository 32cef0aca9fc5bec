import pytest

from hyperion.cli import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-3, "0.0 s"),
        (0.31, "0.3 s"),
        (42.9, "42 s"),
        (60, "1 min"),
        (95, "1 min 35 s"),
        (7_500, "2 h 5 min"),
        (7_201, "2 h"),
        (86_400 * 3 + 3_600 * 4, "3 d 4 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (10**15 * 5, "5.0 PB"),
        (10**18 * 5, "5000 PB"),
    ],
)
def test_volume(count: int | None, text: str) -> None:
    assert units.volume(count) == text


def test_the_rest() -> None:
    assert [units.milliseconds(value) for value in (None, 0.213, 12.34, 412.3)] == ["-", "0.21 ms", "12.3 ms", "412 ms"]
    assert [units.skew(value) for value in (None, 0, 49, -20, 100, -7_250)] == [
        "-",
        "0.0 s",
        "0.0 s",
        "0.0 s",
        "+0.1 s",
        "-7.2 s",
    ]
    assert units.ports(None) == "-"
    assert units.ports([]) == "none"
    assert units.ports([22, 443]) == "22,443"
    assert units.ports(list(range(1, 10))) == "1,2,3,4,5,6 and 3 more"
    assert [units.count(number, "session") for number in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]
