import pytest

from hyperion.cli import style
from hyperion.cli.style import Piece, columns, pad, paint, piece, wants_color, width


@pytest.mark.parametrize(
    ("environ", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "0"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_when_there_is_colour(environ: dict[str, str], terminal: bool, expected: bool) -> None:
    assert wants_color(environ, terminal=terminal) is expected


def test_a_dumb_terminal_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not style.is_terminal()
    assert style.terminal_width() is None
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "72")
    assert style.is_terminal()
    assert style.terminal_width() == 72


def test_paint() -> None:
    line = [piece("bad", "bad"), piece(" and "), piece("good", "good"), piece("  ", "dim")]
    assert paint(line, color=False) == "bad and good"
    assert paint(line, color=True) == "\x1b[31;1mbad\x1b[0m and \x1b[32mgood\x1b[0m"


def test_words_of_a_peer_do_not_command_the_terminal() -> None:
    assert piece("a\x1b[2J\nb\x9bc").text == "a\\x1b[2J\\nb\\x9bc"


def test_width_and_pad() -> None:
    assert [width(text) for text in ("", "abc", "日本", "e\u0301")] == [0, 3, 4, 1]
    assert pad(Piece("日", "bad"), 4) == Piece("日  ", "bad")
    assert pad(Piece("long"), 2) == Piece("long")


def test_columns_are_left_out_from_the_right() -> None:
    rows = [[piece("web1"), piece("up"), piece("12 ms")], [piece("a"), piece("down"), piece("-")]]
    header = ("name", "state", "rtt")
    assert [paint(line, color=False) for line in columns(header, rows, limit=None, keep=1)] == [
        "name  state  rtt",
        "web1  up     12 ms",
        "a     down   -",
    ]
    assert [paint(line, color=False) for line in columns(header, rows, limit=17, keep=1)] == [
        "name  state",
        "web1  up",
        "a     down",
    ]
    assert paint(columns(header, rows, limit=1, keep=2)[0], color=False) == "name  state"
