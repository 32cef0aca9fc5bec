"""Fixtures for tests of the workers."""

import pytest

from hyperion import log
from tests.helpers.rig import Events


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """Every event that would have been logged."""
    seen = Events()
    monkeypatch.setattr(log, "event", seen.event)
    monkeypatch.setattr(log, "enabled", lambda level: True)
    return seen
