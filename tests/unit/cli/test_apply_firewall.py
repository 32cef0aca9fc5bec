import json
import sys
from pathlib import Path

import click
import pytest

from hyperion.cli import apply_firewall
from hyperion.cli.border import run_program
from hyperion.cli.server import program
from hyperion.firewall.nft import NftMissingError, NotPermittedError
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.proto.trial import Committed, Failed, Loaded, Order, RolledBack, Seen
from tests.helpers.fake_nft_program import OLD, FakeNftProgram

PORT = ("--tunnel-port", "8443")


class World:
    """No nft, no login, no server, and a trial that ends as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> None:
        monkeypatch.setenv("HYPERION_HOME", str(home))
        self._capsys = capsys
        self.nft = FakeNftProgram()
        self.orders: list[Order] = []
        self.verdict: Committed | RolledBack | Failed = Committed("knock", "192.0.2.1")
        self.interrupted = False
        self.server = False
        self.seen: tuple[Seen, ...] = ()
        self.left: RolledBack | None = None
        monkeypatch.setattr(apply_firewall, "NftProgram", lambda: self.nft)
        monkeypatch.setattr(apply_firewall, "login_connection", lambda pid: None)
        monkeypatch.setattr(apply_firewall, "recover", lambda *_: self.left)
        monkeypatch.setattr(apply_firewall, "run_trial", self._run)

    def _run(self, order: Order, show: object, tick: object) -> tuple[Committed | RolledBack | Failed, bool]:
        self.orders.append(order)
        show(Loaded(order.seconds, self.server, None if self.server else "no server"))  # type: ignore[operator]
        for seen in self.seen:
            show(seen)  # type: ignore[operator]
        show(self.verdict)  # type: ignore[operator]
        return self.verdict, self.interrupted

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = run_program("hyperion-server", program, ["apply-firewall", *arguments])
        return code, *self._capsys.readouterr()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> World:
    return World(monkeypatch, capsys, tmp_path)


def test_committed(world: World, tmp_path: Path) -> None:
    code, out, err = world(*PORT, "--yes", "--keep-port", "22", "--confirm-within", "7")
    assert (code, out) == (0, "committed: a knock and a handshake of 192.0.2.1 came through the new rules\n")
    assert "note: a reboot forgets them" in err
    assert err.count("tunnel port 8443") == 1
    assert err.startswith("table inet hyperion: tunnel port 8443, set knock_allow; ports kept open: 22\n")
    home = tmp_path / "run"
    expected = Order(
        8443, "hyperion", "knock_allow", (22,), False, False, 64, 7.0, str(home / "firewall"), str(home / "server")
    )
    assert world.orders == [expected]
    world.verdict = Committed("login", "192.0.2.1")
    assert world(*PORT, "--yes")[1] == "committed: a new login of 192.0.2.1 came through the new rules\n"
    assert world.orders[-1].seconds == 90


@pytest.mark.parametrize(
    ("seen", "line", "advice"),
    [
        ((), "nobody got in within 90 s: nothing knocked", "connect anew: clients that are connected do not knock"),
        (
            (Seen("192.0.2.1", "session"),),
            "nothing knocked within 90 s; 192.0.2.1 came in by an admission from before",
            "hyperion-client doctor, or connect anew, which knocks",
        ),
        (
            (Seen("192.0.2.1", "knock"),),
            "nobody got in within 90 s: 192.0.2.1 knocked, and no handshake followed",
            "hyperion-client doctor says where it sticks",
        ),
    ],
)
def test_what_was_missing_says_what_to_do(world: World, seen: tuple[Seen, ...], line: str, advice: str) -> None:
    world.verdict, world.server, world.seen = RolledBack("no-proof", True), True, seen
    code, out, err = world(*PORT, "--yes")
    assert (code, out) == (75, "")
    assert f"hyperion-server: error: rolled back: {line}\nhint: all is as it was; " in err
    assert err.rstrip().endswith(advice)


@pytest.mark.parametrize(
    ("verdict", "code", "line"),
    [
        (RolledBack("no-proof", True), 75, "rolled back: nobody got in within 90 s"),
        (RolledBack("killed", True), 75, "rolled back: the trial was told to end"),
        (RolledBack("no-proof", False, detail="nft: no"), 69, "the table could not be put back: nft: no"),
        (Failed("the server says no", "ask it", 78), 78, "the server says no"),
    ],
)
def test_not_committed(world: World, verdict: RolledBack | Failed, code: int, line: str) -> None:
    world.verdict = verdict
    found, out, err = world(*PORT, "--yes")
    assert (found, out) == (code, "")
    assert f"hyperion-server: error: {line}\nhint: " in err


def test_ctrl_c(world: World) -> None:
    world.verdict, world.interrupted = RolledBack("abandoned", True, True), True
    code, out, err = world(*PORT, "--yes")
    assert (code, out) == (130, "")
    assert err.endswith("left as they are\nrolled back: the table is as it was\n")


def test_json(world: World) -> None:
    code, out, err = world(*PORT, "--yes", "--json")
    assert code == 0
    assert json.loads(out)["outcome"] == "committed"
    assert (json.loads(out)["by"], json.loads(out)["source"]) == ("knock", "192.0.2.1")
    assert "in force" not in err
    world.verdict = RolledBack("no-proof", False, True, "x")
    code, out, _ = world(*PORT, "--yes", "--json")
    assert code == 69
    assert (json.loads(out)["outcome"], json.loads(out)["others_changed"]) == ("not-rolled-back", True)


def test_nobody_to_ask(world: World) -> None:
    code, out, err = world(*PORT)
    assert (code, out) == (2, "")
    summary, warning, *_ = err.splitlines()
    assert summary == "table inet hyperion: tunnel port 8443, set knock_allow; ports kept open: none"
    assert warning.startswith("warning: it is not known how you are logged in")
    assert err.endswith("hyperion-server: error: nobody is there to be asked\nhint: say --yes\n")
    assert world.orders == []


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked(world: World, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: answer)
    code, _, err = world(*PORT)
    assert code == (0 if answer else 77)
    assert len(world.orders) == answer
    if not answer:
        assert "error: nothing was changed" in err


def test_dry_run(world: World) -> None:
    code, out, err = world(*PORT, "--dry-run")
    assert (code, out) == (0, ruleset_text(Ruleset(8443, set="knock_allow")))
    assert "nothing was loaded" in err
    assert (world.orders, world.nft.loads) == ([], [])


def test_sets_that_would_go_are_named_first(world: World) -> None:
    warning = "warning: what you added to table inet hyperion goes, with the rules that name it: set trusted\n"
    world.nft.ours = OLD.replace("\tchain", "\tset trusted {\n\t}\n\tchain", 1)
    for arguments in (("--dry-run",), ("--yes",)):
        code, _, err = world(*PORT, *arguments)
        assert (code, err.count(warning)) == (0, 1)
    world.nft.ours = OLD
    assert "what you added" not in world(*PORT, "--dry-run")[2]


def test_what_an_earlier_trial_left(world: World) -> None:
    world.left = RolledBack("trial-died", True)
    code, _, err = world(*PORT, "--yes")
    assert code == 0
    assert err.startswith("note: an earlier trial was killed; what it had loaded was taken back first\n")
    world.left = RolledBack("trial-died", False, detail="nft: no")
    assert world(*PORT, "--yes")[0] == 69


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [(NftMissingError(), 69, "install nftables"), (NotPermittedError("no right", hint="it takes root"), 77, "root")],
)
def test_before_anything(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, hint: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(apply_firewall, "NftProgram", fail)
    found, out, err = world(*PORT, "--yes")
    assert (found, out) == (code, "")
    assert hint in err
    assert world.orders == []


@pytest.mark.parametrize("seconds", ["0", "601", "nan", "inf", "x"])
def test_what_is_no_time(world: World, seconds: str) -> None:
    assert world(*PORT, "--confirm-within", seconds)[0] == 2


def test_a_configuration_whose_names_break_out(world: World, tmp_path: Path) -> None:
    text = 'listen = "0.0.0.0:1"\n[key]\nsource = "env"\n[identity]\nstatic_key_file = "k"\n[firewall]\nset = "a}"\n'
    (tmp_path / "server.toml").write_text(text)
    code, _, err = world(*PORT, "--yes")
    assert code == 78
    assert "[firewall] set: expected a letter or _" in err
    assert world.orders == []
