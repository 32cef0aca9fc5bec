import asyncio
import dataclasses
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hyperion.capabilities import Capability
from hyperion.config import FirewallSettings, KnockSettings, ServerConfig
from hyperion.proto.control import Heartbeat, Knocked, LogSettings, Message, Ready, SessionOpened
from hyperion.proto.control_knockd import (
    Admitted,
    GateState,
    GuardedTable,
    Held,
    Hold,
    InheritedTable,
    KnockdConfig,
    Revoke,
)
from hyperion.proto.knock import derive_knock_key
from hyperion.proto.operator import HoldGuardRequest, ProofRequest
from hyperion.supervisor.gate import AWAY
from hyperion.supervisor.gatekeeper import Gatekeeper, changed_settings, knockd_config, rights_needed
from hyperion.supervisor.kind import KNOCKD
from hyperion.supervisor.spec import Spec
from tests.helpers.supervise import server_config

LOG = LogSettings("json", "debug")


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    path = tmp_path / "settings.json"
    path.write_text("{}")
    return dataclasses.replace(
        server_config(path),
        knock=KnockSettings(enabled=True, port=9_000, window=20),
        firewall=FirewallSettings("table", "set", 45, one_shot=True, close_behind=True),
    )


class FakeCrew:
    """Remembers its helpers and what they were told."""

    def __init__(self) -> None:
        self.specs: list[Spec] = []
        self.told: list[tuple[str, Message]] = []
        self.leaving = False
        self.is_there = True
        self.helpers = ["knockd"]
        self.names = ["0", "1"]

    def add(self, spec: Spec) -> None:
        self.specs.append(spec)

    async def replace_helper(self, spec: Spec) -> None:
        self.specs.append(spec)

    def amend(self, spec: Spec) -> None:
        self.specs[-1] = spec

    def has_helper(self, name: str) -> bool:
        return name == "knockd" and bool(self.specs) and self.is_there

    def tell(self, name: str, message: Message) -> None:
        self.told.append((name, message))

    def tell_helper(self, name: str, message: Message) -> None:
        self.told.append((name, message))


class Rig:
    def __init__(self, config: ServerConfig, directory: Path) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.crew = FakeCrew()
        self.changes = 0
        self.keeper = Gatekeeper(config, [self.socket], directory, LOG, self._changed)
        self.keeper.staff(self.crew, config)  # type: ignore[arg-type]

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def rig(config: ServerConfig, tmp_path: Path) -> Any:
    made = Rig(config, tmp_path)
    yield made
    made.socket.close()


def test_rights_are_kept_only_for_a_gate(config: ServerConfig) -> None:
    assert rights_needed(config) == frozenset({Capability.NET_ADMIN, Capability.NET_RAW})
    off = dataclasses.replace(config, knock=KnockSettings(enabled=False, port=None, window=30))
    assert rights_needed(off) == frozenset()


def test_what_knockd_is_told_first(config: ServerConfig, tmp_path: Path) -> None:
    assert knockd_config(config, 8443, tmp_path, LOG) == KnockdConfig(
        knock_key=derive_knock_key(config.psk.raw),
        server_public=config.identity.public().raw,
        knock_port=9_000,
        tunnel_port=8443,
        window=20,
        table="table",
        set="set",
        ttl=45,
        replay_path=str(tmp_path / "knocks"),
        one_shot=True,
        log=LOG,
    )
    same_port = dataclasses.replace(config, knock=KnockSettings(enabled=True, port=None, window=20))
    assert knockd_config(same_port, 8443, tmp_path, LOG).knock_port == 8443


def test_the_psk_is_not_knockds_business(config: ServerConfig, tmp_path: Path) -> None:
    message = knockd_config(config, 8443, tmp_path, LOG)
    assert config.psk.raw not in [getattr(message, name) for name in message.__struct_fields__]
    assert config.identity.raw not in [getattr(message, name) for name in message.__struct_fields__]


def test_knockd_is_a_helper_whose_words_reach_the_gate(rig: Rig) -> None:
    (spec,) = rig.crew.specs
    assert (spec.name, spec.entry, spec.kind) == ("knockd", "hyperion.knockd", KNOCKD)
    assert spec.heard is not None
    assert spec.ended is not None
    spec.heard(Admitted("192.0.2.1", 60))
    assert [grant.source for grant in rig.keeper.gate.grants()] == ["192.0.2.1"]
    spec.heard(GateState(ok=False, reason="table: gone"))
    assert rig.keeper.gate.reason == "table: gone"
    assert rig.changes == 2


def test_each_worker_is_told_which_knock_let_a_source_in(rig: Rig) -> None:
    heard = rig.crew.specs[0].heard
    assert heard is not None
    heard(Admitted("192.0.2.1", 60, "5f2c9a1e"))
    assert rig.crew.told == [(name, Knocked("192.0.2.1", "5f2c9a1e")) for name in ("0", "1")]


def test_its_end_is_news_but_not_at_the_end_of_all(rig: Rig) -> None:
    ended = rig.crew.specs[0].ended
    assert ended is not None
    rig.crew.leaving = True
    ended()
    assert rig.keeper.gate.reason == "knockd is starting"
    rig.crew.leaving = False
    ended()
    assert rig.keeper.gate.reason == AWAY


async def test_sessions_close_the_gate_behind_them(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperion.supervisor.gate.CLOSE_BEHIND_SECONDS", 0.01)
    rig.keeper.worker_said(Heartbeat(0, 0, 0, 0, 0, 0))
    rig.keeper.worker_said(SessionOpened("id", "192.0.2.1", 4711, "alice", None, 0.0))
    await asyncio.sleep(0.05)
    assert rig.crew.told == [("knockd", Revoke("192.0.2.1"))]


async def test_knocks_and_sessions_are_kept_as_proof(rig: Rig) -> None:
    heard = rig.crew.specs[0].heard
    assert heard is not None
    heard(Admitted("192.0.2.1", 60))
    rig.keeper.worker_said(SessionOpened("id", "192.0.2.1", 4711, "alice", None, 0.0))
    proof = await rig.keeper.proofs.proof(ProofRequest(0.0))
    assert [knock[0] for knock in proof.knocks] == ["192.0.2.1"]
    assert [session[:2] for session in proof.sessions] == [("192.0.2.1", 4711)]
    holding = asyncio.create_task(rig.keeper.proofs.hold(HoldGuardRequest(9.0)))
    await asyncio.sleep(0)
    assert rig.crew.told == [("knockd", Hold(9.0))]
    heard(Held())
    await holding


GUARDED = GuardedTable("table inet table {\n}", "")
INHERITED = InheritedTable(GUARDED.listing, GUARDED.elements)


def told_anew(rig: Rig) -> list[Message]:
    """What a knockd is told that has just become ready."""
    rig.crew.told.clear()
    heard = rig.crew.specs[-1].heard
    assert heard is not None
    heard(Ready(8))
    return [message for _, message in rig.crew.told]


async def test_what_one_guarded_its_successor_is_told(rig: Rig) -> None:
    heard = rig.crew.specs[0].heard
    assert heard is not None
    assert told_anew(rig) == []
    heard(GuardedTable("table inet table {\n\tbefore\n}", ""))
    heard(GUARDED)
    assert [told_anew(rig), told_anew(rig)] == [[INHERITED], [INHERITED]]


@pytest.mark.parametrize("is_there", [True, False])
async def test_not_what_an_operator_changes_meanwhile(rig: Rig, is_there: bool) -> None:
    heard = rig.crew.specs[0].heard
    assert heard is not None
    heard(GUARDED)
    rig.crew.is_there = is_there
    holding = asyncio.create_task(rig.keeper.proofs.hold(HoldGuardRequest(9.0)))
    await asyncio.sleep(0)
    heard(GUARDED)  # it was on its way
    heard(Held())
    await holding
    assert [type(message) for message in told_anew(rig)] == [Hold]
    done = asyncio.create_task(rig.keeper.proofs.hold(HoldGuardRequest(0.0)))
    await asyncio.sleep(0)
    heard(Held())
    await done
    assert told_anew(rig) == []
    heard(GUARDED)  # it has looked at what he left
    assert told_anew(rig) == [INHERITED]


@pytest.mark.parametrize(
    ("section", "change", "kept"),
    [
        ("firewall", {"table": "other"}, False),
        ("firewall", {"one_shot": False}, False),
        ("knock", {"window": 21}, True),
    ],
)
async def test_not_where_it_would_be_no_gate_any_more(
    rig: Rig, config: ServerConfig, section: str, change: dict[str, Any], kept: bool
) -> None:
    heard = rig.crew.specs[0].heard
    assert heard is not None
    heard(GUARDED)
    await rig.keeper.reload(config, changed(config, section, **change))
    assert told_anew(rig) == ([INHERITED] if kept else [])


CHANGES = {
    "knock.knock_port": ("knock", {"port": 9_001}),
    "knock.window_secs": ("knock", {"window": 21}),
    "firewall.table": ("firewall", {"table": "other"}),
    "firewall.set": ("firewall", {"set_name": "other"}),
    "firewall.ttl_secs": ("firewall", {"ttl": 46}),
    "firewall.one_shot": ("firewall", {"one_shot": False}),
}


def changed(config: ServerConfig, section: str, **changes: Any) -> ServerConfig:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **changes)})


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES)
async def test_a_reload_starts_knockd_anew_where_it_must(
    rig: Rig, config: ServerConfig, name: str, change: tuple[str, dict[str, Any]]
) -> None:
    new = changed(config, change[0], **change[1])
    assert changed_settings(config, new) == [name]
    assert await rig.keeper.reload(config, new) == [name]
    assert len(rig.crew.specs) == 2
    assert rig.crew.specs[1] != rig.crew.specs[0]
    assert rig.keeper.gate.port == new.knock.port
    assert rig.keeper.gate.one_shot == new.firewall.one_shot


async def test_a_reload_tries_a_knockd_again_that_was_given_up(rig: Rig, config: ServerConfig) -> None:
    """What kept it from starting, a full disk or a wrong owner, may be mended by now."""
    rig.crew.helpers.clear()
    assert await rig.keeper.reload(config, config) == []
    assert len(rig.crew.specs) == 2


async def test_other_changes_are_no_business_of_knockd(rig: Rig, config: ServerConfig) -> None:
    assert await rig.keeper.reload(config, dataclasses.replace(config, egress=frozenset({9}))) == []
    new = changed(config, "firewall", close_behind=False)
    assert await rig.keeper.reload(config, new) == ["firewall.close_behind"]
    assert not rig.keeper.gate.close_behind
    assert len(rig.crew.specs) == 1


async def test_a_successor_is_told_that_there_must_be_a_memory(rig: Rig, config: ServerConfig) -> None:
    (spec,) = rig.crew.specs
    assert isinstance(spec.config, KnockdConfig)
    assert not spec.config.successor
    assert spec.heard is not None
    spec.heard(Ready(1))
    (amended,) = rig.crew.specs
    assert amended.config == msgspec.structs.replace(spec.config, successor=True)
    assert (amended.name, amended.heard, amended.ended) == (spec.name, spec.heard, spec.ended)
    changed = dataclasses.replace(config, firewall=FirewallSettings("table", "set", 46))
    await rig.keeper.reload(config, changed)
    last = rig.crew.specs[-1].config
    assert isinstance(last, KnockdConfig)
    assert (last.ttl, last.successor) == (46, True)
