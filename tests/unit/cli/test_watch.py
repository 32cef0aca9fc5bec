import io

import pytest
from rich.console import Console

from hyperion.cli import watch
from hyperion.cli.style import piece
from hyperion.errors import TemporaryError


def test_lines_become_text_and_never_markup() -> None:
    text = watch.text_of([[piece("[bold]x[/bold]", "bad"), piece(" y")], [], [piece("z")]])
    assert text.plain == "[bold]x[/bold] y\n\nz"
    assert [(span.start, span.end, span.style) for span in text.spans] == [(0, 14, "bold red")]


def test_the_screen_shows_each_look_and_goes_on_after_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, height=10, color_system=None)
    monkeypatch.setattr(watch, "make_console", lambda: console)
    looks = iter([1, 2, 3])

    def look() -> int:
        if (seen := next(looks)) == 2:
            raise TemporaryError("no answer within 30 s")
        return seen

    code = watch.watch_terminal(look, lambda status, width: [[piece(f"look {status} of {width}")]], 0.01, turns=3)
    assert code == 0
    shown = out.getvalue()
    assert "look 1 of 60" in shown
    assert "no answer within 30 s" in shown
    assert "look 3 of 60" in shown
    assert "every 0.01 s; Ctrl-C ends this" in shown
    assert shown.index("\x1b[?1049h") < shown.index("look 1")  # another screen, and the old one comes back
    assert shown.rindex("\x1b[?1049l") > shown.rindex("look 3")


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert watch.make_console().no_color


def test_a_low_screen_says_what_it_does_not_show() -> None:
    lines = [[piece(str(number))] for number in range(10)]
    assert watch.fitting(lines, 10) == lines
    assert (
        watch.text_of(watch.fitting(lines, 4)).plain
        == "0\n1\n2\nand 7 more lines: enlarge the window, or name some servers"
    )
