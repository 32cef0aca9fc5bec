"""The gatekeeper from packet to firewall, with a clock that can be set and a firewall that only remembers."""

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hyperion.errors import ConfigError
from hyperion.firewall.nft import NftMissingError
from hyperion.knockd import server
from hyperion.knockd.server import CaptureDiedError, check
from hyperion.proto.control_knockd import Admitted, GateState, KnockCounts
from hyperion.proto.knock import derive_knock_key
from tests.helpers.knockd_rig import START, FakeCapture, FakeFirewall, Rig, running, until
from tests.helpers.packets import whole_ipv4, whole_ipv6


def admitted(rig: Rig) -> list[tuple[str, int]]:
    return [(message.source, message.ttl) for message in rig.sent if isinstance(message, Admitted)]


async def test_a_right_knock_opens_and_is_told(rig: Rig) -> None:
    async with running(rig, FakeCapture(whole_ipv4(rig.knock())), FakeCapture(whole_ipv6(rig.knock()))):
        await until(lambda: len(rig.firewall.admitted) == 2)
        await until(lambda: ("2001:db8::1", 60) in admitted(rig))
    assert sorted(rig.firewall.admitted) == ["192.0.2.1", "2001:db8::1"]
    assert ("192.0.2.1", 60) in admitted(rig)
    assert all(message.knock for message in rig.sent if isinstance(message, Admitted))


async def test_each_way_to_be_wrong(rig: Rig) -> None:
    right = rig.knock()
    assert rig.hear(right[:-1]) == "wrong-length"
    assert rig.hear(b"XXXX" + right[4:]) == "wrong-magic"
    assert rig.hear(right[:-1] + bytes([right[-1] ^ 1])) == "not-authentic"
    assert rig.hear(rig.knock(key=derive_knock_key(bytes([1] * 32)))) == "not-authentic"
    assert rig.hear(rig.knock(server_public=bytes(32))) == "not-authentic"
    assert rig.hear(rig.knock(offset=-31)) == "stale"
    assert rig.hear(rig.knock(offset=31)) == "stale"
    assert rig.hear(rig.knock(port=22)) == "wrong-port"
    assert rig.hear(right) == "accepted"
    assert rig.hear(right) == "replayed"
    assert rig.hear(right, "198.51.100.1") == "replayed"
    for packet in (b"", whole_ipv4(rig.knock(), port=8444), whole_ipv4(rig.knock())[:-1]):
        rig.knockd.hear(packet, True)
    assert rig.counts()["malformed-packet"] == 3


async def test_no_other_port_is_ever_opened(rig: Rig) -> None:
    for port in [*range(0, 65_536, 97), 8442, 8444]:
        if port != 8443:
            assert rig.hear(rig.knock(port=port), f"10.0.{port % 256}.{port // 256}") == "wrong-port"


async def test_the_window_is_measured_by_the_clock_of_the_moment(rig: Rig) -> None:
    early = rig.knock(offset=100)
    assert rig.hear(early) == "stale"
    rig.now += 100
    assert rig.hear(early) == "accepted"


@pytest.mark.parametrize("offset", [-30, -15, 0, 1, 15, 30])
async def test_no_knock_opens_twice_at_any_second_nor_after_a_restart(rig: Rig, offset: int) -> None:
    knock = rig.knock(offset=offset)
    assert rig.hear(knock) == "accepted"
    for second in range(62):
        rig.now = START + second
        assert rig.hear(knock) in ("replayed", "stale")
        await rig.start()
        assert rig.hear(knock) in ("replayed", "stale")


async def test_the_nonce_is_on_disk_before_the_firewall_is_asked(rig: Rig) -> None:
    seen: list[int] = []

    class Nosy(FakeFirewall):
        def admit(self, source: str, ttl: float) -> None:
            seen.append(os.path.getsize(rig.config.replay_path))

    rig.firewall = Nosy()
    await rig.start()
    empty = os.path.getsize(rig.config.replay_path)
    async with running(rig, FakeCapture(whole_ipv4(rig.knock()))):
        await until(lambda: seen)
    assert seen[0] > empty


async def test_a_knock_that_cannot_be_written_down_opens_nothing(rig: Rig) -> None:
    assert rig.memory is not None
    async with running(rig):
        rig.knockd.on_table(True, None)
        await until(lambda: rig.sent)
        rig.memory._let_go()
        assert rig.hear(rig.knock()) == "not-remembered"
        assert rig.firewall.admitted == []
        state = rig.sent[-1]
        assert isinstance(state, GateState)
        assert not state.ok
        assert "replay-memory: there is no sound file" in str(state.reason)
        # the next tick makes a sound one
        await until(lambda: "replay-memory" not in str(rig.sent[-1]))
        assert rig.hear(rig.knock()) == "accepted"


async def test_a_first_start_waits_out_the_second_it_knows_nothing_about(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.number = 1  # no file is made
    rig.now = START + 0.9
    old = rig.knock()
    began = asyncio.get_running_loop().time()
    await rig.start()
    assert 0.1 <= asyncio.get_running_loop().time() - began < 1
    rig.now = START + 1.05
    assert rig.hear(old) == "stale"
    assert rig.hear(rig.knock()) == "accepted"
    rig.stop()


async def test_a_spoilt_memory_keeps_everybody_out_for_a_while_and_says_so(rig: Rig) -> None:
    rig.number = 1  # the file is taken as it is
    Path(rig.config.replay_path).write_bytes(b"spoilt")
    await rig.start()
    async with running(rig):
        rig.knockd.on_table(True, None)
        await until(lambda: rig.sent)
        state = rig.sent[-1]
        assert isinstance(state, GateState)
        assert "past: the replay memory was corrupt" in str(state.reason)
        assert rig.hear(rig.knock(offset=29)) == "stale"
        rig.now += 31
        await until(lambda: rig.sent[-1] == GateState(True, None))
        assert rig.hear(rig.knock()) == "accepted"


async def test_a_memory_that_was_deleted_under_a_running_server_lets_no_knock_in_twice(rig: Rig) -> None:
    """Not even that of a clock that was ahead."""
    ahead = rig.knock(offset=20)
    assert rig.hear(ahead) == "accepted"
    Path(rig.config.replay_path).unlink()
    rig.config = msgspec.structs.replace(rig.config, successor=True)
    await rig.start()
    for _ in range(2 * 30):
        assert rig.hear(ahead) == "stale"
        rig.now += 1
    assert rig.hear(rig.knock()) == "accepted"


async def test_nothing_is_said_until_the_table_was_looked_at(rig: Rig) -> None:
    async with running(rig):
        await asyncio.sleep(0.05)
        assert rig.sent == []
        rig.knockd.on_table(True, None)
        rig.knockd.on_table(True, None)
        assert rig.sent == [GateState(True, None)]
        rig.knockd.on_table(False, "contested")
        assert rig.sent[1:] == [GateState(False, "table: contested")]


async def test_a_missing_table_is_told_once(rig: Rig) -> None:
    """The guard sees that it is not there, and so does whoever asks for a grant."""
    async with running(rig):
        rig.knockd.trouble("firewall", "table-missing: not in the firewall: No such file or directory")
        rig.knockd.on_table(False, "table-missing")
        await until(lambda: rig.sent)
        assert rig.sent[-1] == GateState(False, "table: table-missing")
        rig.knockd.trouble("firewall", "nft-timeout: nft does not answer")
        assert rig.sent[-1] == GateState(False, "firewall: nft-timeout: nft does not answer; table: table-missing")
        rig.knockd.on_table(True, None)
        assert rig.sent[-1] == GateState(True, None)
        rig.knockd.trouble("firewall", "table-missing: not in the firewall: it went just now")
        assert rig.sent[-1] == GateState(False, "firewall: table-missing: not in the firewall: it went just now")


async def test_a_missing_nftables_is_told_and_hearing_goes_on(rig: Rig) -> None:
    rig.firewall.error = NftMissingError()
    capture = FakeCapture(whole_ipv4(rig.knock()))
    async with running(rig, capture):
        rig.knockd.on_table(True, None)
        await until(lambda: "nft-missing" in str(rig.sent))
        rig.firewall.error = None
        capture.packets.append(whole_ipv4(rig.knock()))
        await until(lambda: rig.sent[-1:] == [GateState(True, None)] and admitted(rig) == [("192.0.2.1", 60)])


async def test_a_flood_leaves_turns_for_others(rig: Rig) -> None:
    junk = whole_ipv4(b"HVPK" + bytes(40))
    capture = FakeCapture(*[junk] * 5_000)
    ticks = 0
    async with running(rig, capture):
        while capture.packets:
            await asyncio.sleep(0)
            ticks += 1
    assert max(capture.turns) == server.PACKETS_PER_TURN
    assert ticks >= 5_000 // server.PACKETS_PER_TURN
    assert rig.counts() == {"not-authentic": 5_000}


async def test_counts_come_at_most_once_a_second(rig: Rig) -> None:
    capture = FakeCapture(*[whole_ipv4(bytes(44))] * 100)
    capture.lost = 7
    async with running(rig, capture):
        await until(lambda: any(isinstance(message, KnockCounts) for message in rig.sent))
        await asyncio.sleep(0.3)
    counts = [message for message in rig.sent if isinstance(message, KnockCounts)]
    assert counts == [KnockCounts({"wrong-magic": 100}, 7)]


async def test_trouble_of_an_interface_is_slept_off(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TROUBLE_PAUSE_SECONDS", 0.05)
    down = OSError(errno.ENETDOWN, "Network is down")
    capture = FakeCapture(*[down] * 4, whole_ipv4(rig.knock()))
    began = asyncio.get_running_loop().time()
    async with running(rig, capture) as task:
        await until(lambda: rig.firewall.admitted)
        assert not task.done()
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_dead_capture_ends_knockd(rig: Rig) -> None:
    async with running(rig, FakeCapture(OSError(errno.EBADF, "Bad file descriptor"))) as task:
        with pytest.raises(CaptureDiedError, match="Bad file"):
            await asyncio.wait_for(task, 5)


async def test_a_large_memory_is_rewritten(rig: Rig) -> None:
    for number in range(1_000):
        assert rig.hear(rig.knock(), f"10.{number // 250}.{number % 250}.1") in ("accepted", "busy")
    size = os.path.getsize(rig.config.replay_path)
    assert size > 64 * 1024
    rig.now += 100
    async with running(rig):
        await until(lambda: os.path.getsize(rig.config.replay_path) < 200)


@pytest.mark.parametrize(
    "change",
    [
        {"knock_key": bytes(31)},
        {"server_public": b""},
        {"knock_port": 0},
        {"knock_port": 65_536},
        {"tunnel_port": 0},
        {"tunnel_port": -1},
        {"window": 0},
        {"ttl": 0},
    ],
)
def test_values_that_cannot_work_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check(msgspec.structs.replace(Rig(tmp_path).config, **change))


def test_addresses_are_written_one_way() -> None:
    for text in ("192.0.2.1", "2001:db8::1", "fe80::1"):
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        assert server._text(socket.inet_pton(family, text)) == text
