import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hyperion import running
from hyperion.cli import reload, status
from hyperion.cli.reload import run_reload
from hyperion.errors import ConfigError, NotRunningError, TemporaryError
from hyperion.proto.operator import Done, Refused, ReloadRequest, Request, ServerAnswer, ServerStatus, StatusRequest
from hyperion.supervisor.residence import Residence
from tests.unit.test_running import answering, frame


def test_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    with pytest.raises(NotRunningError, match="hyperion-server is not running"):
        run_reload("server", None, dry_run=False)
    residence = Residence.enter(tmp_path / "run" / "server", "x")
    alive = frame(ServerAnswer(ServerStatus(state="up")))
    answers = (alive, frame(Done()), alive, frame(Refused("bad file", "mend it", 78)))
    with answering(residence.directory, *answers) as asked:
        assert run_reload("server", None, dry_run=True) == 0
        assert asked == []
        assert run_reload("server", None, dry_run=False) == 0
        with pytest.raises(ConfigError, match="bad file"):
            run_reload("server", None, dry_run=False)
        assert [msgspec.convert(each, Request) for each in asked] == [StatusRequest(), ReloadRequest()] * 2
    residence.leave()
    assert capsys.readouterr().out.splitlines() == [
        f"would ask hyperion-server (pid {os.getpid()}) to read its configuration again",
        f"hyperion-server reloaded (pid {os.getpid()})",
    ]


def test_one_that_hangs_is_told_apart_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGSTOP: the kernel takes the call, and nobody answers. Nothing is asked that it would do later."""
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    assert status.ANSWER_SECONDS == 5.0 < running.ANSWER_TIMEOUT
    for module in (reload, status):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    residence = Residence.enter(tmp_path / "run" / "server", "x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(residence.directory / running.SOCKET_FILE))
        sock.listen(8)
        asking: list[Callable[[], int]] = [
            lambda: run_reload("server", None, dry_run=False),
            lambda: status.run_status("server", None),
        ]
        for ask in asking:
            with pytest.raises(TemporaryError, match=r"no answer within 0\.2 s") as caught:
                ask()
            assert caught.value.hint == "it is overloaded, or it hangs"
            caller, _ = sock.accept()
            with caller:
                assert b"reload" not in caller.recv(1000).lower()
    residence.leave()
