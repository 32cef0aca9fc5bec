import time

import pytest

from hyperion.cli.trial_view import TrialView
from hyperion.proto.trial import Committed, Loaded, Seen


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_counts_down(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    view = TrialView(terminal=True)
    view.tick()  # nothing is in force yet
    view.show(Loaded(90.0, True))
    clock[0] = 0.5
    view.tick()
    clock[0] = 2.0
    view.show(Seen("192.0.2.1", "knock"))
    view.show(Committed("knock", "192.0.2.1"))
    clock[0] = 3.0
    view.tick()
    out, err = capsys.readouterr()
    assert out == ""
    shown = err.split("\r\x1b[K")
    assert shown[0].splitlines() == [
        "the rules are in force, and go in 90 s unless somebody gets in:",
        "  from your own machine:  hyperion-client doctor    (its knock is the proof)",
        "  or from a new login:    sudo hyperion-server confirm-firewall",
    ]
    assert shown[1:] == [
        "   90 s left   knock: not yet   session: not yet",
        "   88 s left   knock: 192.0.2.1   session: not yet",
        "",
    ]


def test_elsewhere_each_thing_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = TrialView(terminal=False)
    view.show(Loaded(5.0, False, "no server is running here", strangers=3))
    view.tick()
    view.show(Seen("192.0.2.1", "session"))
    assert capsys.readouterr().err.splitlines() == [
        "the rules are in force, and go in 5 s unless somebody gets in:",
        "warning: 3 open connections are not known to conntrack: they hang until this host sends something on them",
        "  (no server is running here)",
        "  or from a new login:    sudo hyperion-server confirm-firewall",
        "session from 192.0.2.1",
    ]


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    view = TrialView(terminal=True, silent=True)
    view.show(Loaded(5.0, True))
    view.show(Seen("192.0.2.1", "knock"))
    view.tick()
    assert capsys.readouterr().err == ""
