import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hyperion.cli import down as module
from hyperion.cli.down import run_down
from hyperion.errors import RefusedError, TemporaryError
from hyperion.proto.operator import Done
from hyperion.running import PID_FILE, Running
from hyperion.supervisor.residence import Residence
from tests.helpers.others import lock_held
from tests.unit.test_running import answering, frame


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    return tmp_path


def test_nothing_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_down("server", None, now=False, dry_run=False) == 0
    assert run_down("client", None, now=False, dry_run=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "hyperion-server is not running (no pid file)",
        "hyperion is not running (no pid file)",
    ]


def test_a_stale_number_of_a_live_stranger(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One hundred of one hundred times: the stranger is not signalled."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        for _ in range(100):
            (home / "run" / "client").mkdir(parents=True, exist_ok=True)
            (home / "run" / "client" / PID_FILE).write_text(f"{stranger.pid}\n")
            assert run_down("client", None, now=True, dry_run=True) == 0
            assert run_down("client", None, now=True, dry_run=False) == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines == [
                f"would clean up stale pid {stranger.pid}: hyperion is not running",
                f"hyperion was not running (cleaned up stale pid {stranger.pid})",
            ]
            assert stranger.poll() is None
        stranger.communicate(b"\n")
        assert stranger.returncode == 0
    assert not (home / "run" / "client").exists()


def test_it_waits_for_the_end(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(module, "warn_of_the_end", lambda *_, **__: None)
    residence = Residence.enter(home / "run" / "server", "x")
    with answering(residence.directory, frame(Done(patience=20.0))) as asked:
        timer = threading.Timer(0.3, residence.leave)
        timer.start()
        assert run_down("server", None, now=False, dry_run=True) == 0
        assert asked == []
        assert run_down("server", None, now=False, dry_run=False) == 0
        assert asked == [{"t": "stop-request", "now": False}]
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"would stop hyperion-server (pid {os.getpid()}) when its streams have finished",
        f"hyperion-server down (stopped pid {os.getpid()})",
    ]
    assert "streams may finish, at most 20 s" in shown.err


def test_one_that_does_not_end_in_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.05)
    residence = Residence.enter(home / "run" / "client", "x")
    with answering(residence.directory, frame(Done(patience=0.1))), pytest.raises(TemporaryError) as failure:
        run_down("client", None, now=False, dry_run=False)
    assert failure.value.hint == "cut its streams with: hyperion-client down --now"
    residence.leave()


@pytest.mark.parametrize(("now", "number"), [(False, signal.SIGTERM), (True, signal.SIGINT)])
def test_one_that_does_not_answer_is_signalled(
    home: Path, capsys: pytest.CaptureFixture[str], now: bool, number: signal.Signals
) -> None:
    code = f"""
import signal, sys
from pathlib import Path
from hyperion.supervisor.residence import Residence
residence = Residence.enter(Path({str(home / "run" / "server")!r}), "x")
print(flush=True)
sys.exit(signal.sigwait([signal.SIGTERM, signal.SIGINT]))
"""
    blocked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])\n"
    with subprocess.Popen([sys.executable, "-c", blocked + code], stdout=subprocess.PIPE) as hung:
        assert hung.stdout is not None
        hung.stdout.readline()
        assert run_down("server", None, now=now, dry_run=False) == 0
        assert hung.wait(10) == number
    assert capsys.readouterr().out == f"hyperion-server down (stopped pid {hung.pid})\n"


@pytest.mark.root
def test_nothing_is_stopped_at_the_word_of_another_user(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.3)
    directory = home / "run" / "client"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        with lock_held(directory, stranger.pid), pytest.raises(TemporaryError, match="nothing was stopped") as failure:
            run_down("client", None, now=True, dry_run=False)
        assert str(directory / PID_FILE) in str(failure.value.hint)
        assert stranger.poll() is None
        stranger.communicate(b"\n")
        assert stranger.returncode == 0
    assert run_down("client", None, now=False, dry_run=False) == 0
    assert "cleaned up stale pid" in capsys.readouterr().out
    assert not directory.exists()


def test_one_that_becomes_itself_late_is_waited_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Root has started it, and the directory is already its user's: it cannot be told from a stranger yet."""
    residence = Residence.enter(home / "run" / "client", "x")
    (residence.directory / PID_FILE).write_text("0")
    threading.Timer(0.5, residence.leave).start()
    assert run_down("client", None, now=False, dry_run=False) == 0
    assert "hyperion down" in capsys.readouterr().out


def test_an_empty_directory_is_taken_away(home: Path) -> None:
    directory = home / "run" / "client"
    directory.mkdir(parents=True)
    assert run_down("client", None, now=False, dry_run=True) == 0
    assert directory.exists()
    assert run_down("client", None, now=False, dry_run=False) == 0
    assert not directory.exists()


def test_a_server_says_first_what_its_end_means(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def refuse(running: Running, *, yes: bool) -> None:
        told.append(yes)
        raise RefusedError("nothing was stopped")

    monkeypatch.setattr(module, "warn_of_the_end", refuse)
    residence = Residence.enter(home / "run" / "server", "x")
    for yes in (False, True):
        with pytest.raises(RefusedError):
            run_down("server", None, now=False, dry_run=False, yes=yes)
    assert run_down("server", None, now=False, dry_run=True) == 0
    assert told == [False, True]
    residence.leave()
