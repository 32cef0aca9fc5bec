"""The benchmark of transparent mode: its judgement, and that it runs at all (small; that says nothing about speed)."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import replace_section
from bench.sshuttle import Sshuttle
from bench.transparent_report import BEGIN, END, Measured, judge, markdown, show
from bench.wireguard import WireGuard

ROOT = Path(__file__).parents[2]


def values(fake: float, connections: float) -> dict[tuple[str, str], list[float]]:
    return {
        ("up, MB/s", "local forward"): [90.0, 100.0, 110.0],
        ("up, MB/s", "fake address"): [fake],
        ("connections, 1/s", "local forward"): [1000.0],
        ("connections, 1/s", "fake address"): [connections],
    }


NAMES = ["local forward", "fake address"]


def test_all_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Measured(values(86.0, 801.0), NAMES, 0.1, 9.0)) == 0
    assert "NOT" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fake", "connections", "memory"), [(84.0, 801.0, 9.0), (86.0, 799.0, 9.0), (86.0, 801.0, 16.0)]
)
def test_one_is_not(fake: float, connections: float, memory: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Measured(values(fake, connections), NAMES, 0.1, memory)) == 1
    assert capsys.readouterr().out.count("NOT met") == 1


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with WireGuard() as peer:
        assert "go install" in peer.missing
    with Sshuttle(tmp_path) as other:
        assert "not installed: sshuttle" in other.missing


def test_wireguard_is_judged_where_it_was_measured() -> None:
    more = values(100.0, 900.0) | {("up, MB/s", "wireguard-go"): [60.0]}
    verdicts = {each.what: each for each in judge(Measured(more, [*NAMES, "wireguard-go"], 0.1, 9.0))}
    assert not verdicts["up: fake address / wireguard-go"].met


def test_the_section_of_the_document() -> None:
    measured = Measured(values(86.0, 801.0), NAMES, 0.1, 9.0, {"repetitions": 3}, ["sshuttle: not installed: sshuttle"])
    text = replace_section(f"before\n{BEGIN}\nold\n{END}\nafter\n", markdown(measured), BEGIN, END)
    assert "old" not in text
    assert "| up, MB/s | 100 ±10 % | 86 |" in text
    assert "Not measured: sshuttle: not installed: sshuttle." in text
    assert text.endswith(f"{END}\nafter\n")


@pytest.mark.root
@pytest.mark.needs("ip")
def test_it_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.transparent", "--repetitions", "1", "--bulk-mib", "4", "--connections", "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode in {0, 1}, done.stderr
    assert "the mirror alone" in done.stdout
    assert "met" in done.stdout
