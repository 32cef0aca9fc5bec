"""What other machines install from: the wheel, and the list of what it needs there."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tools import wheel as module
from tools.wheel import ROOT, build, locked, needed, write_requirements

LOCK = (ROOT / "constraints.txt").read_text(encoding="utf-8")
#: Not for a machine that writes nothing down but logs.
OF_DEVELOPERS = {"pytest", "hypothesis", "mypy", "ruff", "scapy", "hatchling", "editables", "coverage", "pip"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


def test_what_is_needed_is_all_that_the_programs_import_and_no_more() -> None:
    names = needed()
    assert {"click", "cryptography", "cffi", "uvloop", "python-pytun", "pyroute2", "noiseprotocol"} <= names
    assert names & OF_DEVELOPERS == set()
    assert {"python-pytun", "pyroute2"} & needed(extras=()) == set()


def test_the_list_pins_each_with_hashes_and_the_wheel_by_its_own(wheel: Path) -> None:
    text = write_requirements(wheel, LOCK).read_text(encoding="utf-8")
    *packages, ours = text.replace(" \\\n", " ").splitlines()
    assert len(packages) == len(needed())
    assert all("==" in line and "--hash=sha256:" in line for line in packages)
    assert ours.startswith(f"./{wheel.name} ")
    # pip itself takes the wheel by its hash, and would take no other.
    ask = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--no-index"]
    for digest, code in ((ours.rpartition(":")[2], 0), ("0" * 64, 1)):
        (wheel.parent / "ours.txt").write_text(f"./{wheel.name} --hash=sha256:{digest}\n")
        command = [*ask, "--quiet", "--require-hashes", "-r", "ours.txt"]
        done = subprocess.run(command, cwd=wheel.parent, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr


def test_a_package_that_is_not_in_the_lock_is_not_left_out_in_silence() -> None:
    with pytest.raises(KeyError):
        locked({"click", "no-such-package"}, LOCK)


def test_the_wheel_brings_units_pages_and_examples(wheel: Path) -> None:
    """They are not in the repository of a machine that has only the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.partition(".data/data/")[2] for name in archive.namelist()}
        data = {name for name in inside if name}
    assert {"share/man/man1/hyperion-server.1", "share/man/man1/hyperion-client.1"} <= data
    for directory in ("config", "logrotate.d", "sysctl.d", "systemd", "sysusers.d", "tmpfiles.d"):
        for file in (ROOT / "deploy" / directory).iterdir():
            assert f"share/hyperion/deploy/{directory}/{file.name}" in data


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fake(output: Path) -> Path:
        path = output / f"hyperion-{metadata.version('hyperion')}-py3-none-any.whl"
        path.write_bytes(b"")
        return path

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "OUTPUT", tmp_path / "dist")
    monkeypatch.setattr(module, "build", fake)
    (tmp_path / "constraints.txt").write_text(LOCK)
    (tmp_path / "dist").mkdir()
    old = tmp_path / "dist" / "hyperion-0.0.1-py3-none-any.whl"
    old.write_bytes(b"")
    module.main()
    assert not old.exists()
    assert "pip install --require-hashes -r requirements.txt" in capsys.readouterr().out
    assert (tmp_path / "dist" / "requirements.txt").exists()
