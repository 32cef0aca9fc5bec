"""The command's side. (With the real trial, killed in every way: ``tests/e2e/test_trial.py``.)"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperion.cli import trial_process
from hyperion.cli.trial_process import recover, run_trial
from hyperion.proto.control import Message
from hyperion.proto.trial import Committed, Failed, Loaded, Order, RolledBack
from hyperion.trial.plan import Snapshot
from hyperion.trial.record import BusyError, Record, RecordFile
from hyperion.trial.server import ServerWitness
from tests.helpers.fake_nft_program import NEW, OLD, FakeNftProgram

ORDER = Order(8443, "hyperion", "knock_allow", (), False, False, 64, 9.0, "", "")
#: Says what it is told to, in the place of the trial; waits to be asked first, if the word is "undo".
FAKE = """
import socket, sys
from hyperion.channel import encode
from hyperion.proto.trial import *
sock = socket.socket(fileno=int(sys.argv[1]))
sock.recv(65536)
sock.sendall(encode(Loaded(9.0, True)))
if WORD == "commit":
    sock.sendall(encode(Committed("knock", "192.0.2.1")))
elif WORD == "undo":
    assert sock.recv(100) == encode(Abandon())
    sock.sendall(encode(RolledBack("abandoned", True)))
"""


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> FakeNftProgram:
    nft = FakeNftProgram(NEW)
    monkeypatch.setattr(trial_process, "NftProgram", lambda: nft)
    return nft


def run(monkeypatch: pytest.MonkeyPatch, word: str, directory: Path) -> tuple[Message, bool, list[Message]]:
    popen = subprocess.Popen

    def fake(command: list[str], **options: object) -> object:
        assert command[:4] == [sys.executable, "-I", "-m", "hyperion.trial"]
        assert options["start_new_session"]
        assert set(options["env"]) <= {"LANG", "LC_ALL", "TZ"}  # type: ignore[call-overload]
        return popen([sys.executable, "-c", f"WORD = {word!r}{FAKE}", command[4]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", fake)
    order = Order(8443, "hyperion", "knock_allow", (), False, False, 64, 9.0, str(directory), str(directory))
    shown: list[Message] = []
    ticks: list[int] = []
    verdict, interrupted = run_trial(order, shown.append, lambda: ticks.append(1))
    return verdict, interrupted, shown


def test_a_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verdict, interrupted, shown = run(monkeypatch, "commit", tmp_path / "run")
    assert (verdict, interrupted) == (Committed("knock", "192.0.2.1"), False)
    assert shown == [Loaded(9.0, True), verdict]


def test_ctrl_c_asks_for_the_way_back_and_waits_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def press() -> None:
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    verdict, interrupted, _ = run(monkeypatch, "undo", tmp_path / "run")
    thread.join()
    assert (verdict, interrupted) == (RolledBack("abandoned", True), True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_trial_that_died_is_undone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nft: FakeNftProgram) -> None:
    file = RecordFile(tmp_path / "run")
    file.write(Record.of(Snapshot("hyperion", OLD, OLD)))
    verdict, _, _ = run(monkeypatch, "die", file.directory)
    assert verdict == RolledBack("trial-died", True, True)
    assert nft.ours == OLD


def test_one_that_died_before_it_changed_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verdict, _, _ = run(monkeypatch, "die", tmp_path / "run")
    assert isinstance(verdict, Failed)
    assert verdict.exit_code == 70


def test_nothing_is_undone_while_a_trial_lives(tmp_path: Path, nft: FakeNftProgram) -> None:
    file = RecordFile(tmp_path / "run")
    witness = ServerWitness(tmp_path)
    assert recover(file, witness, "left") is None
    file.write(Record.of(Snapshot("hyperion", OLD, OLD)))
    with file.locked(), pytest.raises(BusyError):
        recover(RecordFile(file.directory), witness, "left")
    assert nft.ours == NEW
    undone = recover(file, witness, "left")
    assert undone is not None
    assert undone.exact
    assert nft.ours == OLD
    assert recover(file, witness, "left") is None
