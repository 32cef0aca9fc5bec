"""What stands in the way of transparent mode."""

import sys
from pathlib import Path

import pytest

from hyperion.cli import transparent_mode
from hyperion.cli.transparent_mode import check_reverse_path, forget_names, obstacle, prepare, strict_devices
from hyperion.errors import CannotCreateError, RefusedError, UsageError
from hyperion.hosts import write


def test_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent_mode, "held", lambda rights: rights)
    assert obstacle() is None


def test_no_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent_mode, "held", lambda _: frozenset())
    found = obstacle()
    assert found is not None
    assert (found.exit_code, "CAP_NET_ADMIN" in str(found), "root" in str(found.hint)) == (77, True, True)


@pytest.mark.parametrize(("absent", "words"), [(("pytun",), "pytun, which is"), (("pytun", "pyroute2"), "which are")])
def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...], words: str) -> None:
    monkeypatch.setattr(transparent_mode, "find_spec", lambda name: None if name in absent else name)
    found = obstacle()
    assert found is not None
    assert words in str(found)
    # Not by the name of this project, which an index may have given to another one; and into this interpreter.
    assert found.hint == f"{sys.executable} -m pip install python-pytun pyroute2"


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    found = obstacle()
    assert found is not None
    assert "Linux" in str(found)


def test_names_need_addresses() -> None:
    with pytest.raises(UsageError, match="--tun"):
        prepare(tun=False, hosts=Path("hosts"))
    prepare(tun=False, hosts=None)


def test_an_obstacle_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent_mode, "obstacle", lambda: RefusedError("no"))
    with pytest.raises(RefusedError):
        prepare(tun=True, hosts=None)


def test_a_second_client_is_refused_and_the_device_of_the_last_one_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent_mode, "obstacle", lambda: None)
    monkeypatch.setattr(transparent_mode, "LOOK_SECONDS", 0.001)
    looks = iter((True, True, False))
    monkeypatch.setattr(transparent_mode, "exists", lambda _: next(looks))
    prepare(tun=True, hosts=Path("hosts"))
    assert list(looks) == []
    monkeypatch.setattr(transparent_mode, "LEAVING_SECONDS", 0.01)
    monkeypatch.setattr(transparent_mode, "exists", lambda _: True)
    with pytest.raises(CannotCreateError, match="hyperion0 is in use") as caught:
        prepare(tun=True, hosts=None)
    assert "hyperion-client down" in str(caught.value.hint)


def test_names_that_were_left_behind_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost\n", encoding="utf-8")
    write([("10.99.0.10", "web1.hyperion")], file)
    monkeypatch.setattr(transparent_mode, "DEVICE", tmp_path)
    forget_names(file)
    assert "web1" in file.read_text(encoding="utf-8")  # a client runs
    monkeypatch.setattr(transparent_mode, "DEVICE", tmp_path / "none")
    forget_names(file)
    forget_names(tmp_path / "none")
    assert file.read_text(encoding="utf-8") == "127.0.0.1 localhost\n"


def test_a_strict_reverse_path_filter_is_told(tmp_path: Path) -> None:
    for name, value in {"all": 0, "default": 1, "lo": 1, "eth0": 1, "eth1": 2, "hyperion0": 1}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "rp_filter").write_text(f"{value}\n", encoding="ascii")
    assert strict_devices(tmp_path) == ["eth0"]
    with pytest.raises(RefusedError, match="eth0 is strict") as caught:
        check_reverse_path(tmp_path)
    assert "net.ipv4.conf.eth0.rp_filter=2" in str(caught.value.hint)
    (tmp_path / "all" / "rp_filter").write_text("2\n", encoding="ascii")
    check_reverse_path(tmp_path)
