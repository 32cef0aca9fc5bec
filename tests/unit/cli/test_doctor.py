import asyncio
import json
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from hyperion.cli.doctor import Probe, run_doctor
from hyperion.config import KnockSettings, ServerEntry
from hyperion.errors import ConfigError, UsageError
from hyperion.proto.keys import PrivateKey
from hyperion.worker.connector import Step
from hyperion.worker.knocker import MakeSocket
from hyperion.worker.probe import ProbeReport
from tests.helpers.config_files import ADMIN_SECRET, SERVER_SECRET, client_text, leaks

STEPS = (
    Step(name="connect", milliseconds=1.24, ok=True),
    Step(name="handshake", milliseconds=2.1, ok=True),
    Step(name="record", milliseconds=0.3, ok=True),
)


def good(entry: ServerEntry) -> ProbeReport:
    return ProbeReport(
        server=entry.name, address=str(entry.endpoint), ok=True, steps=STEPS, round_trip_ms=0.3, ports=(5432, 22)
    )


def bad(entry: ServerEntry) -> ProbeReport:
    return ProbeReport(
        server=entry.name,
        address=str(entry.endpoint),
        ok=False,
        steps=(STEPS[0], Step(name="handshake", milliseconds=9, ok=False)),
        reason="connect-refused",
        message="connection refused",
        hint="is the server running?",
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    return path


def probe_with(*failing: str) -> Probe:
    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        assert identity == ADMIN_SECRET
        assert timeout == 3.0
        return bad(entry) if entry.name in failing else good(entry)

    return probe


def doctor(config: Path, *names: str, probe: Probe, as_json: bool = False) -> int:
    return run_doctor(config, names, as_json=as_json, timeout=3.0, probe=probe)


def test_all_well(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(config, probe=probe_with()) == 0
    assert capsys.readouterr() == (
        (
            "web1 (192.0.2.1:8443)     ... ok  connect 1.2 ms  handshake 2.1 ms  record 0.3 ms\n"
            "db1 (db1.example.com:443) ... ok  connect 1.2 ms  handshake 2.1 ms  record 0.3 ms\n"
        ),
        "",
    )


def test_one_fails(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(config, probe=probe_with("web1")) == 1
    assert capsys.readouterr().out == (
        "web1 (192.0.2.1:8443)     ... FAIL: connection refused\n"
        "  steps: connect 1.2 ms, handshake 9.0 ms (failed)\n"
        "  hint: is the server running?\n"
        "db1 (db1.example.com:443) ... ok  connect 1.2 ms  handshake 2.1 ms  record 0.3 ms\n"
    )


@pytest.mark.parametrize(("skew", "told"), [(5_000, None), (-5_001, "-5 s"), (90_000, "+90 s"), (None, None)])
def test_a_clock_that_is_far_off_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], skew: int | None, told: str | None
) -> None:
    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        return msgspec.structs.replace(good(entry), skew_ms=skew)

    assert doctor(config, "web1", probe=probe) == 0
    out = capsys.readouterr().out
    assert ("clock" in out) is (told is not None)
    assert told is None or f"differs from this one by {told}\n" in out


def test_chosen_by_name_in_the_order_of_the_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(config, "db1", "web1", "db1", probe=probe_with()) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["web1", "db1"]
    assert doctor(config, "db1", probe=probe_with("web1")) == 0
    assert capsys.readouterr().out.startswith("db1 (db1.example.com:443) ... ok")


def test_unknown_name(config: Path) -> None:
    with pytest.raises(UsageError, match="no server wbe1") as caught:
        doctor(config, "wbe1", probe=probe_with())
    assert caught.value.hint == "did you mean web1?"


def test_unknown_name_is_told_before_anybody_is_asked_for_a_secret(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(config.read_text().replace('source = "value"', 'source = "passphrase"\nsalt = "salt-salt-salt"'))
    monkeypatch.delenv("HYPERION_PASSPHRASE", raising=False)
    monkeypatch.setattr("hyperion.cli.doctor.terminal_prompt", lambda: Mock(side_effect=AssertionError("asked")))
    with pytest.raises(AssertionError, match="asked"):
        doctor(config, "web1", probe=probe_with())
    with pytest.raises(UsageError, match="no server wbe1"):
        doctor(config, "wbe1", probe=probe_with())


def test_no_servers(config: Path) -> None:
    text = config.read_text()
    config.write_text(text[: text.index("[[server]]")])
    with pytest.raises(ConfigError, match=r"\[\[server\]\]: expected at least one, got none"):
        doctor(config, probe=probe_with())


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(config, probe=probe_with("db1"), as_json=True) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert document["schema"] == "hyperion.doctor/1"
    assert not leaks(out)
    web1, db1 = document["servers"]
    assert web1 == {
        "name": "web1",
        "address": "192.0.2.1:8443",
        "ok": True,
        "reason": None,
        "message": None,
        "hint": None,
        "steps": [
            {"name": "connect", "ok": True, "milliseconds": 1.24},
            {"name": "handshake", "ok": True, "milliseconds": 2.1},
            {"name": "record", "ok": True, "milliseconds": 0.3},
        ],
        "round_trip_ms": 0.3,
        "server_name": None,
        "agent": None,
        "skew_ms": None,
        "ports": [22, 5432],
        "knocks": 0,
        "causes": [],
    }
    assert (db1["ok"], db1["reason"], db1["hint"]) == (False, "connect-refused", "is the server running?")


def test_all_at_once_and_shown_as_they_come(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second server answers first, and only then the first; the first line waits for nobody."""
    second_done = asyncio.Event()

    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        if entry.name == "web1":
            await asyncio.wait_for(second_done.wait(), 10)
        else:
            second_done.set()
        return good(entry)

    assert doctor(config, probe=probe) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["web1", "db1"]


def test_a_servers_words_cannot_forge_lines(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        return msgspec.structs.replace(bad(entry), message="a\nok\x1b[2J", hint="b\r\n")

    assert doctor(config, "web1", probe=probe) == 1
    assert capsys.readouterr().out == (
        "web1 (192.0.2.1:8443) ... FAIL: a\\nok\\x1b[2J\n"
        "  steps: connect 1.2 ms, handshake 9.0 ms (failed)\n"
        "  hint: b\\r\\n\n"
    )


def test_a_bug_in_the_probe_is_not_hidden(config: Path) -> None:
    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        doctor(config, probe=probe)


def shut(entry: ServerEntry) -> ProbeReport:
    return ProbeReport(
        server=entry.name,
        address=str(entry.endpoint),
        ok=False,
        steps=(Step("resolve", 0.1, True), Step("knock", 0.21, True, 24), Step("connect", 5_000, False)),
        reason="knock-unanswered",
        message="no answer",
        hint="look at the log",
        knocks=24,
        causes=("the clock", "the key"),
    )


@pytest.mark.parametrize(("names", "code"), [(("web1",), 75), (("web1", "db1"), 1)])
def test_a_gate_that_stayed_shut(
    config: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], code: int
) -> None:
    """One server alone: 75, trying again may help. With another that is well: 1, as ever."""

    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        return shut(entry) if entry.name == "web1" else msgspec.structs.replace(good(entry), skew_ms=4_000_000)

    assert doctor(config, *names, probe=probe) == code
    out = capsys.readouterr().out
    assert out.startswith("web1 (192.0.2.1:8443)")
    assert (
        "  steps: resolve 0.1 ms, knock x24 0.2 ms, connect 5000.0 ms (failed)\n"
        "  likely causes, the likeliest first:\n"
        "    1. the clock\n"
        "    2. the key\n"
        "  hint: look at the log\n"
    ) in out
    told = "hint: db1's clock is +4000 s from this one: if this one is wrong, set it\n"
    assert out.endswith(told) is (len(names) == 2)


def test_the_same_advice_is_given_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def all_shut(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        return shut(entry)

    assert doctor(config, probe=all_shut) == 1
    steps = "  steps: resolve 0.1 ms, knock x24 0.2 ms, connect 5000.0 ms (failed)\n"
    assert capsys.readouterr().out == (
        f"web1 (192.0.2.1:8443)     ... FAIL: no answer\n{steps}"
        "  likely causes, the likeliest first:\n    1. the clock\n    2. the key\n  hint: look at the log\n"
        f"db1 (db1.example.com:443) ... FAIL: no answer\n{steps}"
        "  likely causes: as for web1\n"
    )
    assert doctor(config, probe=probe_with("web1", "db1")) == 1
    assert capsys.readouterr().out.count("hint: ") == 1


def test_json_of_a_gate_that_stayed_shut(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        return shut(entry)

    assert doctor(config, "web1", probe=probe, as_json=True) == 75
    (web1,) = json.loads(capsys.readouterr().out)["servers"]
    assert (web1["reason"], web1["knocks"], web1["causes"]) == ("knock-unanswered", 24, ["the clock", "the key"])
    assert web1["steps"][1] == {"name": "knock", "ok": True, "milliseconds": 0.21}


def test_the_probe_is_told_how_to_knock(config: Path) -> None:
    config.write_text(config.read_text().replace("[key]", "[knock]\nenabled = true\nport = 5353\n[key]"))
    seen: list[KnockSettings] = []

    async def probe(
        entry: ServerEntry, identity: PrivateKey, timeout: float, knock: KnockSettings, *_: MakeSocket
    ) -> ProbeReport:
        seen.append(knock)
        return good(entry)

    assert doctor(config, "web1", probe=probe) == 0
    assert [(knock.enabled, knock.port) for knock in seen] == [(True, 5353)]


def test_many_servers_end_with_a_count(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody counts forty lines; who has two sees it."""
    more = "".join(
        f'''
[[server]]
name = "node{number}"
addr = "192.0.2.9:{number}"
server_pubkey = "{SERVER_SECRET.public()}"
'''
        for number in (1, 2)
    )
    text = config.read_text()
    place = text.index("[[forward]]")
    config.write_text(text[:place] + more + text[place:])
    assert doctor(config, probe=probe_with("web1", "node1")) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 4 servers ok; not: web1, node1"
    assert doctor(config, probe=probe_with()) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 servers ok"
