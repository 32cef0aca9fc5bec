import json
from pathlib import Path

import pytest

from hyperion.cli import apply_firewall, remove_firewall
from hyperion.cli.border import run_program
from hyperion.cli.server import program
from hyperion.running import Running
from hyperion.trial.record import RecordFile
from tests.helpers.fake_nft_program import NEW, OLD, FakeNftProgram


class FakeWitness:
    """A server that lets go, or does not."""

    refusal: str | None = None
    held: list[float]

    def __init__(self, directory: Path) -> None:
        type(self).held = []

    async def hold(self, seconds: float, *, needs_gate: bool) -> str | None:
        assert not needs_gate
        self.held.append(seconds)
        return self.refusal


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> None:
        monkeypatch.setenv("HYPERION_HOME", str(home))
        self._capsys = capsys
        self.home = home
        self.nft = FakeNftProgram(OLD)
        self.running: Running | None = None
        monkeypatch.setattr(remove_firewall, "NftProgram", lambda: self.nft)
        monkeypatch.setattr(remove_firewall, "ServerWitness", FakeWitness)
        monkeypatch.setattr(remove_firewall, "find", lambda *_: self.running)
        monkeypatch.setattr(remove_firewall, "SETTLE_SECONDS", 0.001)
        monkeypatch.setattr(apply_firewall, "recover", lambda *_: None)
        monkeypatch.setattr(FakeWitness, "refusal", None)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = run_program("hyperion-server", program, ["remove-firewall", *arguments])
        return code, *self._capsys.readouterr()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> World:
    return World(monkeypatch, capsys, tmp_path)


def test_it_goes_and_twice_does_no_harm(world: World) -> None:
    assert world() == (0, "removed table inet hyperion: what other tables let in is open\n", "")
    assert world.nft.ours is None
    assert [bool(seconds) for seconds in FakeWitness.held] == [True, False]
    assert world() == (0, "there is no table inet hyperion: nothing to remove\n", "")
    assert len(world.nft.loads) == 1


def test_a_running_server_is_told_and_so_are_you(world: World) -> None:
    world.running = Running(world.home, 7)
    code, _, err = world()
    assert code == 0
    assert "the running server has no gate now, and takes no new connection until it has one" in err


def test_a_server_hears_of_it_although_the_table_is_away_just_now(world: World) -> None:
    """Its knockd may be away too, and bring it back."""
    world.nft.ours, world.running = None, Running(world.home, 7)
    assert world()[:2] == (0, "there is no table inet hyperion: nothing to remove\n")
    assert [bool(seconds) for seconds in FakeWitness.held] == [True, False]
    assert world.nft.loads == []


def test_a_table_that_was_put_back_just_before_the_server_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(self: FakeWitness, seconds: float, *, needs_gate: bool) -> str | None:
        if seconds:
            world.nft.ours = OLD
        return None

    monkeypatch.setattr(FakeWitness, "hold", hold)
    world.nft.ours, world.running = None, Running(world.home, 7)
    assert world()[:2] == (0, "removed table inet hyperion: what other tables let in is open\n")
    assert world.nft.ours is None


def test_a_server_that_does_not_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWitness, "refusal", "knockd does not answer")
    code, _, err = world()
    assert code == 69
    assert "the running server cannot let go of its table: knockd does not answer" in err
    assert world.nft.ours == OLD
    assert FakeWitness.held[-1] == 0, "it may have been late, and hold its guard"


def test_somebody_who_puts_it_back(world: World) -> None:
    def load(commands: str) -> None:
        world.nft.loads.append(commands)

    world.nft.load = load  # type: ignore[method-assign]
    code, _, err = world()
    assert code == 75
    assert "somebody puts table inet hyperion back" in err


def test_a_table_of_somebody_else(world: World) -> None:
    world.nft.ours = NEW
    code, _, err = world()
    assert code == 78
    assert "belongs to somebody else" in err
    assert world.nft.ours == NEW


def test_while_a_trial_runs(world: World) -> None:
    with RecordFile(world.home / "run" / "firewall").locked():
        code, _, err = world()
    assert code == 75
    assert "another trial of the firewall is running" in err
    assert world.nft.ours == OLD


def test_dry_run_and_json(world: World) -> None:
    assert world("--dry-run") == (0, "table inet hyperion\ndelete table inet hyperion\n", "")
    assert world.nft.loads == []
    document = {"schema": "hyperion.remove-firewall/1", "table": "hyperion", "removed": True}
    assert json.loads(world("--json")[1]) == document
    assert json.loads(world("--json")[1]) == document | {"removed": False}
    assert world("--dry-run")[1] == "there is no table inet hyperion\n"


def test_a_name_that_cannot_be(world: World) -> None:
    assert world("--table", "a;b")[0] == 2
