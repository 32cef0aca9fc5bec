import os
import stat
from pathlib import Path
from typing import Any

import pytest

from hyperion.cli import up as module
from hyperion.cli.service_manager import Unit
from hyperion.cli.up import (
    UpOptions,
    open_log,
    refuse_if_up,
    responsible_unit,
    run_arguments,
    show_plan,
    socks_arguments,
)
from hyperion.errors import CannotCreateError, UsageError
from hyperion.supervisor.residence import AlreadyRunningError, Residence
from tests.helpers.others import lock_held


def test_arguments_are_passed_on_only_if_they_were_asked_for() -> None:
    given: dict[str, Any] = {"workers": None, "drain_timeout": 30.0, "log_level": "info", "only": ()}
    assert run_arguments(given, *given) == []
    given = {"workers": 3, "drain_timeout": 5.0, "log_level": "debug", "only": ("a", "b")}
    assert run_arguments(given, *given) == [
        *("--workers", "3", "--drain-timeout", "5.0", "--log-level", "debug", "--only", "a,b")
    ]


def test_socks_is_judged_before_there_is_a_daemon() -> None:
    assert socks_arguments((), gateway_ports=True) == []
    assert socks_arguments(("1080", "[::1]:0"), gateway_ports=False) == ["--socks", "1080", "--socks", "[::1]:0"]
    assert socks_arguments(("0.0.0.0:1",), gateway_ports=True) == ["--socks", "0.0.0.0:1", "--gateway-ports"]
    with pytest.raises(UsageError, match="other hosts could use your tunnels"):
        socks_arguments(("0.0.0.0:1",), gateway_ports=False)


def test_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    options = UpOptions(program="client", config_file=None)
    refuse_if_up(options)
    residence = Residence.enter(tmp_path / "run" / "client", "x")
    with pytest.raises(AlreadyRunningError, match=rf"hyperion-client is already running \(pid {os.getpid()}\)"):
        refuse_if_up(options)
    refuse_if_up(UpOptions(program="server", config_file=None))
    refuse_if_up(UpOptions(program="client", config_file=tmp_path / "another.toml"))
    residence.leave()


@pytest.mark.root
def test_another_user_who_holds_the_lock_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    directory = tmp_path / "run" / "client"
    with (
        lock_held(directory, 1),
        pytest.raises(AlreadyRunningError, match="does not answer as hyperion-client") as failure,
    ):
        refuse_if_up(UpOptions(program="client", config_file=None))
    assert failure.value.hint is not None
    assert f"fuser -v {directory / 'pid'}" in failure.value.hint
    assert f"rm -r {directory}" in failure.value.hint


def test_a_unit_takes_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit("hyperion-server.service", "/bin/systemctl")
    monkeypatch.setattr(module, "managed", lambda *_: unit)
    assert responsible_unit(UpOptions(program="server", config_file=None)) is unit
    for options in (
        UpOptions(program="server", config_file=None, arguments=("--workers", "3")),
        UpOptions(program="server", config_file=None, passphrase_fd=3),
    ):
        with pytest.raises(UsageError, match=r"hyperion-server\.service says how"):
            responsible_unit(options)


def test_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    options = UpOptions(program="server", config_file=None, arguments=("--workers", "3"))
    assert show_plan(options, tmp_path / "server.toml") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"would start hyperion-server run --config {tmp_path}/server.toml --workers 3",
        f"  runtime directory: {tmp_path}/run/server",
        f"  log: {tmp_path}/hyperion-server.log",
    ]


def test_the_log_is_ours_alone_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.log"
    before = os.umask(0)
    try:
        for _ in range(2):
            fd = open_log(path)
            os.write(fd, b"line\n")
            os.close(fd)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"line\nline\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    os.link(victim, tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "hard", "pipe", "victim/below"):
        with pytest.raises(CannotCreateError, match="log "):
            open_log(tmp_path / name)
    assert victim.read_text() == "precious"
