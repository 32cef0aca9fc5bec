import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest

from hyperion.errors import CannotCreateError
from hyperion.trial import record as record_module
from hyperion.trial.plan import Snapshot
from hyperion.trial.record import BusyError, Record, RecordFile, trial_directory

SNAPSHOT = Snapshot("hyperion", "table inet hyperion {\n}\n", "table inet hyperion {\n}\n")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "run" / "firewall")
    assert file.read() is None
    written = Record.of(SNAPSHOT)
    file.write(written)
    read = RecordFile(file.directory).read()
    assert read == written
    assert read.snapshot == SNAPSHOT
    assert 0 <= read.elapsed < 60
    assert stat.S_IMODE((file.directory / "trial.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(file.directory.stat().st_mode) == 0o700
    file.remove()
    file.remove()
    assert file.read() is None


def test_of_another_boot_or_network_it_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RecordFile(tmp_path / "firewall")
    file.write(Record.of(SNAPSHOT))
    for name in ("_boot", "_namespace"):
        with monkeypatch.context() as patch:
            patch.setattr(record_module, name, lambda: "another")
            assert file.read() is None
    assert file.read() is not None
    (file.directory / "trial.json").write_text("{")
    assert file.read() is None


def test_one_at_a_time(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "firewall")
    with file.locked(), pytest.raises(BusyError), RecordFile(file.directory).locked():
        pass
    with file.locked():
        pass


def _hold(directory: Path) -> None:
    with RecordFile(directory).locked():
        (directory / "held").touch()
        time.sleep(60)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "firewall")
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(file.directory,))
    holder.start()
    while not (file.directory / "held").exists():
        time.sleep(0.01)
    with pytest.raises(BusyError), file.locked():
        pass
    holder.kill()
    holder.join()
    with file.locked():
        pass


@pytest.mark.parametrize("spoil", ["open to others", "a link", "a file", "of another user"])
def test_a_directory_that_is_not_ours_alone(tmp_path: Path, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "firewall"
    match spoil:
        case "open to others":
            path.mkdir(mode=0o755)
        case "a link":
            (tmp_path / "real").mkdir(mode=0o700)
            path.symlink_to(tmp_path / "real")
        case "a file":
            path.touch()
        case _:
            path.mkdir(mode=0o700)
            monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(CannotCreateError):
        RecordFile(path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "firewall")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (file.directory / "trial.json.new").symlink_to(victim)
    with pytest.raises(CannotCreateError, match="cannot save"):
        file.write(Record.of(SNAPSHOT))
    assert victim.read_text() == "precious"


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial_directory({"HYPERION_HOME": "/h"}) == Path("/h/run/firewall")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert trial_directory({}) == Path("/run/hyperion-firewall")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert trial_directory({"XDG_RUNTIME_DIR": "/x"}) == Path("/x/hyperion-firewall")
    assert trial_directory({}) == Path("/run/user/7/hyperion-firewall")
