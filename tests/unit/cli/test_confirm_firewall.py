import socket
import threading
from ipaddress import ip_address
from pathlib import Path

import pytest

from hyperion.channel import encode
from hyperion.cli import confirm_firewall
from hyperion.cli.border import run_program
from hyperion.cli.server import program
from hyperion.proto.control import Message
from hyperion.proto.trial import Confirmed, NotConfirmed
from hyperion.trial.connections import Connection

LOGIN = Connection(ip_address("192.0.2.7"), 40_000, ip_address("198.51.100.1"), 22)


def confirm(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    return run_program("hyperion-server", program, ["confirm-firewall"]), *capsys.readouterr()


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    monkeypatch.setattr(confirm_firewall, "login_connection", lambda pid: LOGIN)


class FakeTrial:
    """Answers one request at the place where a trial would; ``None``: hangs up."""

    def __init__(self, home: Path, answer: Message | None) -> None:
        directory = home / "run" / "firewall"
        directory.mkdir(parents=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(directory / "confirm.sock"))
        self._socket.listen()
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        caller, _ = self._socket.accept()
        with caller:
            self.heard = caller.recv(65_536)
            if self._answer is not None:
                caller.sendall(encode(self._answer))

    def close(self) -> None:
        self._thread.join(10)
        self._socket.close()


@pytest.mark.parametrize(
    ("answer", "code", "out", "err"),
    [
        (
            Confirmed(),
            0,
            "confirmed: this login (192.0.2.7:40000 -> 198.51.100.1:22) came through the new rules, and they stay\n",
            "",
        ),
        (
            NotConfirmed("it is older", "log in anew"),
            77,
            "",
            "hyperion-server: error: it is older\nhint: log in anew\n",
        ),
        (None, 75, "", "hyperion-server: error: the trial does not answer\n"),
    ],
)
def test_what_the_trial_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, answer: Message | None, code: int, out: str, err: str
) -> None:
    trial = FakeTrial(tmp_path, answer)
    found, said, complained = confirm(capsys)
    trial.close()
    assert (found, said) == (code, out)
    assert complained.startswith(err)
    assert b"192.0.2.7" in trial.heard


def test_without_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = confirm(capsys)
    assert (code, out) == (3, "")
    assert err.startswith("hyperion-server: error: no trial of the firewall is running\n")


def test_without_a_login_that_is_known(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm_firewall, "login_connection", lambda pid: None)
    code, out, err = confirm(capsys)
    assert (code, out) == (77, "")
    assert "not inside tmux or screen" in err
