"""``status``: where the document comes from, in which form it goes out, and how quickly it is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hyperion.cli import status as module
from hyperion.cli.status import exit_code, fetch, run_status, selected
from hyperion.errors import TemporaryError, UsageError
from hyperion.proto.operator import ClientAnswer, ClientStatus, Done, Refused, ServerAnswer, ServerStatus, TunnelLine
from hyperion.supervisor.residence import Residence
from tests.unit.test_running import answering, frame


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("state", "code"), [("down", 3), ("up", 0), ("degraded", 4), ("starting", 4), ("draining", 4)])
def test_exit_codes(state: str, code: int) -> None:
    assert exit_code(ServerStatus(state=state)) == exit_code(ClientStatus(state=state)) == code


def test_not_running(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_status("client", None) == 3
    assert run_status("server", None) == 3
    assert capsys.readouterr().out.splitlines() == [
        "hyperion: down",
        f"no configuration file {home}/hyperion.toml; make one with: hyperion-client init",
        "hyperion-server: down",
        f"no configuration file {home}/server.toml; make one with: hyperion-server init",
    ]
    assert run_status("client", None, as_json=True) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["program"], document["state"]) == (
        "hyperion.status/1",
        "hyperion-client",
        "down",
    )


def test_what_the_program_says_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ServerStatus(state="up", pid=7, listen="127.0.0.1:8443")
    residence = Residence.enter(home / "run" / "server", "x")
    with answering(residence.directory, *[frame(ServerAnswer(said))] * 2):
        assert run_status("server", None) == 0
        assert capsys.readouterr().out.startswith("hyperion-server: UP (pid 7)\nlisten: 127.0.0.1:8443\n")
        assert run_status("server", None, as_json=True) == 0
        assert msgspec.json.decode(capsys.readouterr().out, type=ServerStatus) == said
    residence.leave()


def test_one_that_is_just_starting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.01)
    residence = Residence.enter(home / "run" / "client", "x")
    assert fetch("client", None) == ClientStatus(state="starting", pid=os.getpid(), reason="it does not answer yet")

    said = ClientStatus(state="up", pid=7)
    monkeypatch.setattr(module, "START_SECONDS", 0.5)
    with answering(residence.directory, frame(ClientAnswer(said))):
        assert fetch("client", None) == said
    residence.leave()


@pytest.mark.parametrize("answer", [Done(), Refused("no", None, 75)])
def test_an_answer_that_is_no_status(home: Path, answer: Done | Refused) -> None:
    residence = Residence.enter(home / "run" / "client", "x")
    with answering(residence.directory, frame(answer)), pytest.raises(TemporaryError):
        fetch("client", None)
    residence.leave()


def test_without_a_terminal_watching_is_a_line_each_time(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Enough(Exception):
        pass

    looks = iter([0, 0])

    def sleep(seconds: float) -> None:
        assert seconds == 0.5
        if next(looks, None) is None:
            raise Enough

    monkeypatch.setattr(module.time, "sleep", sleep)  # type: ignore[attr-defined]
    with pytest.raises(Enough):
        run_status("client", None, watch=True, interval=0.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("Z hyperion: down")
    looks = iter([0])
    with pytest.raises(Enough):
        run_status("client", None, watch=True, as_lines=True, interval=0.5)
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == ["down", "down"]


def test_some_servers_only() -> None:
    up = TunnelLine(name="web1", address="x:1", state="up", pool_up=2, pool_size=2)
    down = TunnelLine(name="db3", address="x:1", state="down", pool_size=2)
    status = ClientStatus(state="degraded", servers=[down, up], servers_up=1, servers_total=2)
    assert selected(status, ()) is status
    web1 = selected(status, ("web1",))
    assert isinstance(web1, ClientStatus)
    assert (web1.state, web1.servers, web1.servers_up, web1.servers_total) == ("up", [up], 1, 1)
    assert exit_code(web1) == 0
    assert exit_code(selected(status, ("db3",))) == 4
    assert selected(ClientStatus(), ("web1",)) == ClientStatus()
    with pytest.raises(UsageError, match="no server web2") as failure:
        selected(status, ("web2",))
    assert failure.value.hint == "it has db3, web1"


# --- start-up: imports are counted, because a clock would measure the machine


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines())


STATUS = """
import contextlib, io, os, tempfile
from hyperion.cli.border import run_program
from hyperion.cli.{name} import PROGRAM, program
os.environ["HYPERION_HOME"] = {home!r}
with contextlib.redirect_stdout(io.StringIO()):
    code = run_program(PROGRAM, program, ["status"])
assert code == 4, code
"""

#: What makes a start slow, and what a status has no need of.
NEVER = {"asyncio", "cryptography", "rich", "structlog", "tomllib", "tomlkit", "argon2", "noise", "uvloop", "ssl"}


@pytest.mark.parametrize("name", ["server", "client"])
def test_a_status_of_a_running_program_loads_little(home: Path, name: str) -> None:
    residence = Residence.enter(home / "run" / name, "x")
    said = (
        ServerAnswer(ServerStatus(state="degraded"))
        if name == "server"
        else ClientAnswer(ClientStatus(state="degraded"))
    )
    with answering(residence.directory, frame(said)):
        loaded = modules_after(STATUS.format(name=name, home=str(home)))
    residence.leave()
    assert not {module.partition(".")[0] for module in loaded} & NEVER
    event_loop = modules_after("import asyncio")
    bare = modules_after("")
    assert len(loaded - bare) <= 2 * len(event_loop - bare)
