"""The quick way: when it is taken, how it finds a client, and what it loads."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from hyperion.cli import quick_nc
from hyperion.cli.quick_nc import Wanted, attempt, parse, running, through_running
from hyperion.errors import UnreachableError
from hyperion.proto.handover import Answer
from hyperion.rendezvous import INDEX, PREFIX, Meeting, render_index
from tests.helpers.calls import bind

#: What a quick start does without: they take longer to load than all the rest.
SLOW = {"asyncio", "click", "cryptography", "msgspec", "noise", "rich", "ssl", "structlog", "uvloop", "logging"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["web1", "22"], Wanted("web1", 22)),
        (["-c", "f", "web1", "65535"], Wanted("web1", 65535, Path("f"))),
        (["--config", "f", "web1", "1"], Wanted("web1", 1, Path("f"))),
        (["-F", "web1", "22"], Wanted("web1", 22, None, True)),
        (["--fdpass", "-c", "f", "web1", "22"], Wanted("web1", 22, Path("f"), True)),
        (["-F"], None),
        ([], None),
        (["web1"], None),
        (["web1", "ssh"], None),
        (["web1", "0"], None),
        (["web1", "65536"], None),
        (["web1", "٢٢"], None),
        (["web1", "-1"], None),
        (["web1", "9" * 5000], None),
        (["--help", "22"], None),
        (["web1", "22", "--debug"], None),
        (["web1", "22", "more"], None),
    ],
)
def test_only_the_plain_command_line(arguments: Sequence[str], wanted: object) -> None:
    assert parse(arguments) == wanted


def client(home: Path, name: str = "client") -> Path:
    directory = home / "run" / name / f"{PREFIX}1"
    directory.mkdir(parents=True)
    (directory / INDEX).write_text(render_index([Meeting("web1", "0")]), encoding="utf-8")
    return directory


def test_no_client_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    assert attempt("hyperion-client", ["web1", "22"]) is None
    client(tmp_path)  # it left an index, but nobody listens
    assert [each.name for each in running(None)] == ["web1"]
    assert attempt("hyperion-client", ["web1", "22"]) is None
    assert attempt("hyperion-client", ["web2", "22"]) is None


def test_a_client_with_another_configuration_is_another_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    client(tmp_path)
    assert running(tmp_path / "other.toml") == []
    assert len(running(tmp_path / "hyperion.toml")) == 1


def test_what_goes_wrong_is_one_line_and_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    with bind(client(tmp_path) / "0") as listener:

        def refuse() -> None:
            with listener.accept()[0] as worker:
                worker.recv(3)
                worker.sendall(bytes((Answer.DENIED,)) + b"egress-policy")

        thread = threading.Thread(target=refuse)
        thread.start()
        assert attempt("hyperion-client", ["web1", "22"]) == 77
        thread.join()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "hyperion-client: error: web1 does not allow port 22",
        "hint: add 22 to allow in the server's configuration, or take a port that is in it",
    ]


def test_a_dead_client_is_passed_over(tmp_path: Path) -> None:
    dead = Meeting("web1", str(tmp_path / "dead"))
    with bind(tmp_path / "alive") as listener:
        listener.settimeout(5)

        def hang_up() -> None:
            with listener.accept()[0] as worker:
                worker.recv(3)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(UnreachableError):
            through_running([dead, Meeting("web1", str(tmp_path / "alive"))], "web1", 22)
        thread.join()
    assert through_running([dead], "web1", 22) is None


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(quick_nc, "through_running", interrupt)
    assert attempt("hyperion-client", ["web1", "22"]) == 130


def test_it_loads_nothing_slow() -> None:
    """Each of these costs more than ssh should wait; and so does a crowd of small ones."""
    script = (
        "import json, sys\n"
        "before = set(sys.modules)\n"
        "import hyperion.cli.entry, hyperion.cli.quick_nc\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ}, timeout=20
    )
    loaded = json.loads(shown.stdout)
    assert not SLOW & {name.partition(".")[0] for name in loaded}
    ours = [name for name in loaded if name.startswith("hyperion")]
    assert "hyperion.cli.call" in ours
    assert len(ours) <= 14, ours
    assert len(loaded) <= 80, loaded
