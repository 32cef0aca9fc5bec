"""Fixtures for tests of the supervisor: real children that are fakes, and configuration for them."""

from collections.abc import Iterator

import pytest

from hyperion import log
from hyperion.events import LogEvent
from hyperion.supervisor.process import Launcher


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """Its fork server ends with the test."""
    made = Launcher("tests.helpers.fake_preload")
    yield made
    made.stop()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Code and reason of each event."""
    seen: list[tuple[str, str | None]] = []

    def event(what: LogEvent, _fields: object = None, *, reason: str | None = None, **_: object) -> None:
        seen.append((what.code, reason))

    monkeypatch.setattr(log, "event", event)
    return seen
