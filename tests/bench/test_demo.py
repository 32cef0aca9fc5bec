"""The parts of ``make demo`` that need no tunnel: what it shows, and that it never ends well when something failed."""

import io
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console

from bench.child import ChildError
from bench.demo import show
from bench.demo.screen import Screen


@pytest.fixture
def text() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def screen(text: io.StringIO) -> Screen:
    return Screen(Console(file=text))


class TestScreen:
    def test_checks_are_counted(self, screen: Screen, text: io.StringIO) -> None:
        screen.check("one [bracketed]", good=True)
        screen.check("two", good=False)
        assert (screen.passed, screen.failed) == (1, ["two"])
        assert "one [bracketed]" in text.getvalue()
        assert "FAILED two" in text.getvalue()

    def test_without_a_terminal_progress_is_a_line_each_quarter(self, screen: Screen, text: io.StringIO) -> None:
        with screen.progress("up", 100) as report:
            for done in range(1, 101):
                report(done)
        assert text.getvalue().split("\n") == ["  up: 25 %", "  up: 50 %", "  up: 75 %", "  up: 100 %", ""]

    def test_on_a_terminal_it_is_a_bar(self, text: io.StringIO) -> None:
        screen = Screen(Console(file=text, force_terminal=True, width=100))
        with screen.progress("up", 100) as report:
            report(100)
        assert "\x1b[" in text.getvalue()


class TestDemonstration:
    def test_a_part_that_fails_is_shown_with_its_last_lines(
        self, screen: Screen, text: io.StringIO, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_demo: show.Demo) -> None:
            raise ChildError("the server ended before it was ready", ["its last line"])

        monkeypatch.setattr(show.Demo, "run", fail)
        assert show.demonstrate(screen) == 1
        assert "failed: the server ended before it was ready" in text.getvalue()
        assert "its last line" in text.getvalue()

    def test_one_failed_check_is_enough(self, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(show.Demo, "run", lambda _demo: screen.check("hashes", good=False))
        assert show.demonstrate(screen) == 1

    def test_ctrl_c_ends_it_without_a_traceback(self, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(show.Demo, "run", lambda _demo: signal.raise_signal(signal.SIGINT))
        assert show.demonstrate(screen) == 128 + signal.SIGINT

    def test_sigterm_ends_it_like_ctrl_c(self, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(show.Demo, "run", lambda _demo: signal.raise_signal(signal.SIGTERM))
        assert show.demonstrate(screen) == 128 + signal.SIGINT

    def test_it_does_not_wait_for_ever(self) -> None:
        with pytest.raises(show.OutOfTimeError, match=r"within 0\.05 s"), show.deadline(0.05):
            threading.Event().wait(30)

    def test_handlers_are_put_back(self) -> None:
        before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM)
        with show.deadline(10):
            assert signal.getsignal(signal.SIGALRM) != before[0]
        assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM)) == before

    def test_nothing_is_left_in_the_file_system(self, screen: Screen, text: io.StringIO) -> None:
        screen.passed = 1
        with show.temporary_directory(screen) as directory:
            (directory / "key").write_text("secret")
        assert not Path(directory).exists()
        assert "is gone" in text.getvalue()
