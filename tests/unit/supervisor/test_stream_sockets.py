"""The directory of stream sockets: rights, leftovers, reloads."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hyperion import log
from hyperion.errors import CannotCreateError
from hyperion.events import STREAMS_UNAVAILABLE
from hyperion.rendezvous import PREFIX, meetings
from hyperion.supervisor import stream_sockets
from hyperion.supervisor.stream_sockets import StreamSockets, callers, open_streams
from tests.helpers.calls import reach
from tests.helpers.rig import Events


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def reaches(path: str) -> bool:
    try:
        reach(Path(path)).close()
    except OSError:
        return False
    return True


def test_only_this_user_gets_in(tmp_path: Path) -> None:
    before = os.umask(0)  # the worst case
    try:
        made = StreamSockets(tmp_path / "a" / "run")
        made.prepare(["web1"])
        (meeting,) = made.commit({"web1": ("10.99.0.10",)})
    finally:
        os.umask(before)
    assert reaches(meeting.path)
    assert mode(tmp_path / "a" / "run") == mode(made.directory) == 0o700
    assert {mode(each) for each in made.directory.iterdir()} == {0o600}
    made.close()
    assert list((tmp_path / "a" / "run").iterdir()) == []


def test_a_name_may_be_anything_printable(tmp_path: Path) -> None:
    made = StreamSockets(tmp_path)
    names = ["..", "🔑" * 64, "a" * 64, "\\", "web1"]
    made.prepare(names)
    made.commit(dict.fromkeys(names, ()))
    found = meetings([str(tmp_path)])
    assert [each.name for each in found] == names
    assert all(reaches(each.path) for each in found)
    assert all(Path(each.path).parent == made.directory for each in found)
    made.close()


def test_a_reload_keeps_adds_and_removes(tmp_path: Path) -> None:
    made = StreamSockets(tmp_path)
    first = made.prepare(["web1", "db1"])
    old = made.commit({"web1": (), "db1": ()})
    second = made.prepare(["web1", "log1"])
    assert second["web1"] is first["web1"]
    assert [each.name for each in meetings([str(tmp_path)])] == ["web1", "db1"]  # until it is decided
    new = made.commit({"web1": ("192.0.2.1",), "log1": ()})
    assert meetings([str(tmp_path)]) == new
    assert [reaches(each.path) for each in (*old, *new)] == [True, False, True, True]
    made.close()


def test_two_clients_side_by_side_and_one_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hyperion.supervisor.stream_sockets import StreamSockets\n"
        "made = StreamSockets(Path(sys.argv[1])); made.prepare(['other']); made.commit({'other': ()})\n"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        made = StreamSockets(tmp_path)
        made.prepare(["own"])
        made.commit({"own": ()})
        assert {each.name for each in meetings([str(tmp_path)])} == {"own", "other"}
        made.close()
        assert [each.name for each in meetings([str(tmp_path)])] == ["other"]
        other.kill()
    assert (tmp_path / f"{PREFIX}{other.pid}").exists()
    StreamSockets(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_an_earlier_process_with_our_number(tmp_path: Path) -> None:
    leftover = tmp_path / f"{PREFIX}{os.getpid()}"
    leftover.mkdir()
    (leftover / "0").touch()
    StreamSockets(tmp_path).close()
    assert not leftover.exists()


def test_a_link_is_neither_followed_nor_cleaned(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    runtime = tmp_path / "run"
    runtime.symlink_to(precious)
    with pytest.raises(CannotCreateError):
        StreamSockets(runtime)
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / f"{PREFIX}1").symlink_to(precious)
    StreamSockets(other).close()
    assert (precious / "file").exists()


@pytest.mark.parametrize("trouble", ["a file", "open to others", "somebody else's"])
def test_a_place_that_will_not_do(tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "run"
    match trouble:
        case "a file":
            runtime.touch()
        case "open to others":
            runtime.mkdir()
            runtime.chmod(0o755)
        case _:
            runtime.mkdir(mode=0o700)
            monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(CannotCreateError, match="cannot make stream sockets in"):
        open_streams(runtime, required=True)
    events = Events()
    monkeypatch.setattr(log, "event", events.event)
    assert open_streams(runtime, required=False) is None
    assert [each.what for each in events.all] == [STREAMS_UNAVAILABLE]


def test_a_system_without_such_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_sockets, "AVAILABLE", False)
    with pytest.raises(CannotCreateError, match="no Unix sockets"):
        open_streams(tmp_path, required=True)


def test_who_may_call(tmp_path: Path) -> None:
    file = tmp_path / "hyperion.toml"
    assert callers(file) == tuple(sorted({0, os.geteuid()}))
    file.touch()
    if os.geteuid() == 0:
        os.chown(file, 4711, -1)
        assert callers(file) == (0, 4711)
