from typing import Any

import pytest

from hyperion import log
from hyperion.events import LogEvent
from hyperion.supervisor.life import Life


@pytest.mark.parametrize(
    ("code", "cause", "reason"),
    [
        (0, None, "exit code 0"),
        (70, None, "exit code 70"),
        (-11, None, "SIGSEGV"),
        (-9, None, "killed: perhaps out of memory"),
        (-9, "it was silent for 20 s", "it was silent for 20 s"),
        (78, "no such address", "no such address"),
        (-50, None, "signal 50"),
        (None, None, "exit code unknown"),
    ],
)
def test_the_end_in_words(code: int | None, cause: str | None, reason: str) -> None:
    assert Life("0", 7, code, cause).reason() == reason


@pytest.mark.parametrize(("given_up", "level"), [(False, "error"), (True, "critical")])
def test_a_crash_in_the_log(monkeypatch: pytest.MonkeyPatch, given_up: bool, level: str) -> None:
    said: list[tuple[LogEvent, dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(log, "event", lambda what, fields, **more: said.append((what, fields, more)))
    Life("web1", 7, -11, None, 3).log_crashed(2, given_up=given_up)
    ((what, fields, more),) = said
    assert set(fields) | {"event.reason"} == set(what.fields)
    assert fields == {
        "process.pid": 7,
        "process.exit_code": -11,
        "hyperion.worker.id": "web1",
        "hyperion.worker.signal": "SIGSEGV",
        "hyperion.worker.restarts": 2,
        "hyperion.worker.sessions_lost": 3,
    }
    assert more == {"reason": "SIGSEGV", "level": level}
