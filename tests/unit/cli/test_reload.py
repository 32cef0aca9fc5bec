import os
from pathlib import Path

import pytest

from hyperion.cli.reload import run_reload
from hyperion.errors import ConfigError, NotRunningError
from hyperion.proto.operator import Done, Refused
from hyperion.supervisor.residence import Residence
from tests.unit.test_running import answering, frame


def test_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    with pytest.raises(NotRunningError, match="hyperion-server is not running"):
        run_reload("server", None, dry_run=False)
    residence = Residence.enter(tmp_path / "run" / "server", "x")
    with answering(residence.directory, frame(Done()), frame(Refused("bad file", "mend it", 78))) as asked:
        assert run_reload("server", None, dry_run=True) == 0
        assert asked == []
        assert run_reload("server", None, dry_run=False) == 0
        with pytest.raises(ConfigError, match="bad file"):
            run_reload("server", None, dry_run=False)
    residence.leave()
    assert capsys.readouterr().out.splitlines() == [
        f"would ask hyperion-server (pid {os.getpid()}) to read its configuration again",
        f"hyperion-server reloaded (pid {os.getpid()})",
    ]
