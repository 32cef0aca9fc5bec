import json
import os
import time
from pathlib import Path

import pytest

from hyperion.firewall.nft import FirewallError, NftMissingError, NftTimeoutError
from hyperion.firewall.nft_program import NftProgram, find_nft


def fake(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "nft"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_text_goes_in_as_text_and_the_environment_stays_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_SOMEBODY", "x")
    log = tmp_path / "log"
    nft = NftProgram(fake(tmp_path, f'echo "$@" >>{log}; cat >>{log}; env | sort >>{log}; echo listing'))
    nft.load("add table inet a; $(reboot)\n")
    assert log.read_text().startswith("-f -\nadd table inet a; $(reboot)\nLC_ALL=C\n")
    assert "SOMEBODY" not in log.read_text()
    log.unlink()
    nft.check("x")
    assert log.read_text().startswith("-c -f -\n")
    log.unlink()
    assert nft.list_text("table", "inet", "a") == "listing\n"
    assert log.read_text().startswith("--stateless --terse list table inet a\n")
    log.unlink()
    nft.list_text("table", "inet", "a", handles=True)
    assert log.read_text().startswith("--stateless --terse --handle list table inet a\n")
    log.unlink()
    assert nft.list_json("ruleset") == "listing\n"
    assert log.read_text().startswith("--json list ruleset\n")
    assert nft.name == "nft"


def test_a_failure_is_told_in_nfts_words(tmp_path: Path) -> None:
    nft = NftProgram(fake(tmp_path, "echo 'Error: it is so' >&2; exit 1"))
    with pytest.raises(FirewallError, match=r"^nft: it is so$"):
        nft.load("x")


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # The sleeper holds the pipes as a child of its own, which must not keep us waiting either.
    nft = NftProgram(fake(tmp_path, f"echo $$ >{pid_file}; sleep 30 & wait"), timeout=0.3)
    began = time.monotonic()
    with pytest.raises(NftTimeoutError, match=r"within 0\.3 s"):
        nft.list_text("ruleset")
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_no_program_no_right_to_run_it_no_program_at_all(tmp_path: Path) -> None:
    with pytest.raises(NftMissingError) as caught:
        NftProgram(tmp_path / "nft").load("x")
    assert "apt-get install nftables" in (caught.value.hint or "")
    path = fake(tmp_path, "exit 0")
    path.chmod(0o644)
    with pytest.raises(NftMissingError, match="cannot run"):
        NftProgram(path).load("x")
    path.write_bytes(b"\0\0")
    path.chmod(0o755)
    with pytest.raises(FirewallError, match="cannot run"):
        NftProgram(path).load("x")


def test_it_is_looked_for_in_fixed_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = fake(tmp_path, "exit 0")
    assert find_nft(("/nowhere", str(tmp_path))) == path
    with pytest.raises(NftMissingError, match="not installed"):
        find_nft(("/nowhere",))


@pytest.mark.needs("nft")
@pytest.mark.root
def test_the_real_one_checks_and_changes_nothing() -> None:
    nft = NftProgram()
    before = nft.list_json("ruleset")
    assert "nftables" in json.loads(before)
    nft.check("table inet hyp_check { }\n")
    assert nft.list_json("ruleset") == before
