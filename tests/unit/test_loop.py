import asyncio
import sys
from types import ModuleType

import pytest

from hyperion import loop
from hyperion.errors import ConfigError, UsageError


async def name() -> str:
    return loop.loop_name()


@pytest.mark.parametrize("choice", ["auto", "uvloop", "asyncio"])
def test_runs_on_the_chosen_loop_and_returns(choice: loop.LoopChoice) -> None:
    assert loop.run(name, loop=choice) == ("asyncio" if choice == "asyncio" else "uvloop")


def test_the_policy_of_the_process_is_left_alone() -> None:
    loop.run(name, loop="uvloop")
    with asyncio.Runner() as runner:
        assert runner.run(name()) == "asyncio"


def test_without_uvloop_auto_is_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop.run(name) == "asyncio"
    with pytest.raises(UsageError, match="not installed"):
        loop.run(name, loop="uvloop")


def test_who_watches_sockets_gets_a_loop_that_can_on_windows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert loop._plain_loop(watches_sockets=True) is asyncio.SelectorEventLoop
    assert loop._plain_loop(watches_sockets=False) is None
    monkeypatch.undo()
    assert loop.run(name, loop="asyncio", watches_sockets=True) == "asyncio"


@pytest.mark.parametrize("version", ["0.22.1", "0.19.0", "0"])
@pytest.mark.parametrize("choice", ["auto", "uvloop"])
def test_an_unsafe_uvloop_is_refused(version: str, choice: loop.LoopChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("uvloop")
    old.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvloop", old)
    with pytest.raises(ConfigError, match="mix up connections"):
        loop.run(name, loop=choice)
    assert loop.run(name, loop="asyncio") == "asyncio"


@pytest.mark.parametrize("version", ["0.23.0", "0.23", "0.24.0b1", "1.0.0"])
def test_newer_ones_are_accepted(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new = ModuleType("uvloop")
    new.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvloop", new)
    assert loop.find_uvloop() is new
