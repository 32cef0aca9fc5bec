"""The gatekeeper when its clock is set: no knock twice, nobody locked out for hours, and a lock-out is told."""

from pathlib import Path

import msgspec
import pytest

from hyperion import log
from hyperion.events import DIAGNOSTIC
from hyperion.proto.control_knockd import GateState
from tests.helpers.knockd_rig import START, Rig, running, until


async def shut_for(rig: Rig) -> int:
    """Seconds until a knock that is sealed then gets in."""
    began = rig.now
    while rig.hear(rig.knock()) == "stale":
        rig.now += 1
        assert rig.now - began < 10_000
    return int(rig.now - began)


@pytest.mark.parametrize("step", [5, -5, 29, -29, 31, -31, 3_600, -3_600])
async def test_a_clock_that_steps_lets_nothing_in_twice(rig: Rig, step: int) -> None:
    knock = rig.knock()
    assert rig.hear(knock) == "accepted"
    for now in (START + step, START):
        rig.now = now
        assert rig.hear(knock) in ("replayed", "stale")
        await rig.start()
        assert rig.hear(knock) in ("replayed", "stale")
        shut = await shut_for(rig)
        assert shut <= 31
        rig.now = now
        assert rig.hear(knock) in ("replayed", "stale")


async def test_a_clock_that_was_ahead_at_a_first_start_keeps_nobody_out_for_as_long_as_that(tmp_path: Path) -> None:
    """A hardware clock in local time and an empty runtime directory, then NTP."""
    rig = Rig(tmp_path)
    rig.number = 1  # no file
    rig.now = START + 7_200
    await rig.start()
    async with running(rig):
        rig.knockd.on_table(True, None)
        await until(lambda: rig.sent == [GateState(True, None)])
        rig.now = START
        await until(lambda: rig.sent[-1] != GateState(True, None))
        assert rig.sent[-1] == GateState(False, "past: the clock was set back: knocks are refused until 22:13:51 UTC")
        assert await shut_for(rig) == 31
        await until(lambda: rig.sent[-1] == GateState(True, None))
    rig.stop()


async def test_a_running_clock_that_was_ahead_and_is_set_back_keeps_nobody_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str | None]] = []
    monkeypatch.setattr(
        log, "event", lambda what, fields=None, *, reason=None, **more: events.append((what.code, reason))
    )
    rig.now = START + 3_600
    await rig.start()
    first = rig.knock()
    assert rig.hear(first) == "accepted"
    rig.now += 40
    second = rig.knock()
    assert rig.hear(second) == "accepted"
    async with running(rig):
        rig.knockd.on_table(True, None)
        rig.now = START + 100
        await until(lambda: (DIAGNOSTIC.code, "clock-set-back") in events)
        assert rig.hear(rig.knock()) == "accepted"
        assert [message for message in rig.sent if isinstance(message, GateState)] == [GateState(True, None)]
    for rig.now in range(int(START) + 100, int(START) + 3_700):
        assert rig.hear(first) in ("replayed", "stale")
        assert rig.hear(second) in ("replayed", "stale")


async def test_what_a_clock_that_was_ahead_let_in_stays_refused_after_restarts(rig: Rig) -> None:
    rig.now = START + 3_600
    knock = rig.knock()
    assert rig.hear(knock) == "accepted"
    rig.now += 62
    assert rig.hear(rig.knock()) == "accepted"
    await rig.start()  # the file is written anew, without what is stale
    rig.now = START + 5
    await rig.start()
    for rig.now in range(int(START) + 5, int(START) + 3_700, 5):
        assert rig.hear(knock) in ("replayed", "stale")
        if rig.now % 20 == 0:
            rig.hear(rig.knock())


async def test_locked_out_after_a_lost_memory_is_told_also_by_the_next_knockd(rig: Rig) -> None:
    Path(rig.config.replay_path).unlink()
    rig.config = msgspec.structs.replace(rig.config, successor=True)
    rig.number = 1  # the file is taken as it is
    await rig.start()
    assert rig.hear(rig.knock()) == "stale"
    rig.now += 2
    await rig.start()  # it was killed, or reloaded
    async with running(rig):
        rig.knockd.on_table(True, None)
        await until(lambda: rig.sent)
        state = rig.sent[-1]
        assert isinstance(state, GateState)
        assert not state.ok
        assert str(state.reason).startswith("past: what was let in before cannot be told any more: knocks are refused")
        assert rig.hear(rig.knock()) == "stale"
        rig.now += 29
        await until(lambda: rig.sent[-1] == GateState(True, None))
        assert rig.hear(rig.knock()) == "accepted"
