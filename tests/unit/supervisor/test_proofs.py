import asyncio

import pytest

from hyperion.errors import ConfigError, TemporaryError, UsageError
from hyperion.proto.control import Message, Ready, SessionOpened
from hyperion.proto.control_knockd import Admitted, GateState, Held, Hold
from hyperion.proto.operator import Done, HoldGuardRequest, Proof, ProofRequest
from hyperion.supervisor import proofs as proofs_module
from hyperion.supervisor.proofs import MAX_REMEMBERED, Proofs


class Knockd:
    """Answers, unless it is told not to."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.told: list[Message] = []
        self.answers = self.runs = True
        self.proofs = Proofs(self.tell, lambda: self.runs, lambda: self.now)

    def tell(self, message: Message) -> None:
        self.told.append(message)
        if self.answers:
            asyncio.get_running_loop().call_soon(self.proofs.heard, Held())


def session(source: str, port: int) -> SessionOpened:
    return SessionOpened("id", source, port, "admin", None, 0.0)


async def test_the_guard_is_held_when_knockd_says_so() -> None:
    knockd = Knockd()
    for seconds in (30.0, 0.0, 600.0):
        assert await knockd.proofs.hold(HoldGuardRequest(seconds)) == Done()
    assert knockd.told == [Hold(30.0), Hold(0.0), Hold(600.0)]
    knockd.proofs.heard(Held())  # nobody waits: no matter


async def test_what_is_known_of_the_table_is_let_go_first() -> None:
    knockd = Knockd()
    order: list[object] = []
    knockd.proofs._let_go = lambda: order.append("let go")

    def tell(message: Message) -> None:
        order.append(message)
        knockd.tell(message)

    knockd.proofs._tell = tell
    assert not knockd.proofs.is_held
    await knockd.proofs.hold(HoldGuardRequest(30.0))
    assert knockd.proofs.is_held
    await knockd.proofs.hold(HoldGuardRequest(0.0))
    assert not knockd.proofs.is_held
    assert order == ["let go", Hold(30.0), "let go", Hold(0.0)]
    knockd.runs = False
    await knockd.proofs.hold(HoldGuardRequest(30.0))
    assert order[4:] == ["let go"]
    with pytest.raises(UsageError):
        await knockd.proofs.hold(HoldGuardRequest(-1.0))
    assert order[5:] == []


async def test_two_who_ask_at_once_are_both_answered() -> None:
    knockd = Knockd()
    requests = [knockd.proofs.hold(HoldGuardRequest(1.0)) for _ in range(2)]
    assert await asyncio.gather(*requests) == [Done(), Done()]


async def test_a_knockd_that_hangs_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs_module, "HOLD_TIMEOUT", 0.01)
    knockd = Knockd()
    knockd.answers = False
    with pytest.raises(TemporaryError, match="knockd does not answer"):
        await knockd.proofs.hold(HoldGuardRequest(1.0))
    knockd.answers = True
    assert await knockd.proofs.hold(HoldGuardRequest(1.0)) == Done()


@pytest.mark.parametrize(("seconds", "left"), [(30.0, 20.0), (5.0, 5.0), (0.0, None)])
async def test_an_order_that_was_not_obeyed_holds_no_successor(
    monkeypatch: pytest.MonkeyPatch, seconds: float, left: float | None
) -> None:
    monkeypatch.setattr(proofs_module, "HOLD_TIMEOUT", 0.01)
    knockd = Knockd()
    knockd.answers = False
    with pytest.raises(TemporaryError):
        await knockd.proofs.hold(HoldGuardRequest(30.0))
    knockd.told.clear()
    knockd.proofs.heard(Ready(8))
    assert knockd.told == []
    # One that is held stays so at most as long as before.
    knockd.answers = True
    await knockd.proofs.hold(HoldGuardRequest(20.0))
    knockd.answers = False
    with pytest.raises(TemporaryError):
        await knockd.proofs.hold(HoldGuardRequest(seconds))
    knockd.told.clear()
    knockd.proofs.heard(Ready(9))
    assert knockd.told == ([] if left is None else [Hold(left)])


async def test_without_a_knockd_there_is_nobody_to_hold() -> None:
    knockd = Knockd()
    knockd.runs = False
    assert await knockd.proofs.hold(HoldGuardRequest(1.0)) == Done()
    assert knockd.told == []


@pytest.mark.parametrize("runs", [True, False])
async def test_a_knockd_that_starts_meanwhile_is_told(runs: bool) -> None:
    """Else it takes the old rules for right, and puts them back over those that are on trial."""
    knockd = Knockd()
    knockd.runs = runs
    await knockd.proofs.hold(HoldGuardRequest(30.0))
    knockd.told.clear()
    knockd.runs, knockd.now = True, knockd.now + 10.0
    knockd.proofs.heard(Ready(7))
    assert knockd.told == [Hold(20.0)]
    await knockd.proofs.hold(HoldGuardRequest(0.0))
    knockd.told.clear()
    knockd.proofs.heard(Ready(8))
    assert knockd.told == []


async def test_where_knocking_is_off_no_knock_can_prove_anything() -> None:
    with pytest.raises(ConfigError, match="knocking is off"):
        await Proofs(None, lambda: False).hold(HoldGuardRequest(1.0))


@pytest.mark.parametrize("seconds", [-1.0, 600.1, float("nan"), float("inf")])
async def test_what_is_no_time(seconds: float) -> None:
    knockd = Knockd()
    with pytest.raises(UsageError):
        await knockd.proofs.hold(HoldGuardRequest(seconds))
    assert knockd.told == []


async def test_who_got_in_since() -> None:
    knockd = Knockd()
    knockd.proofs.heard(Admitted("192.0.2.1", 60))
    knockd.proofs.session_opened(session("192.0.2.1", 40_000))
    knockd.now = 1_010.0
    knockd.proofs.heard(Admitted("2001:db8::1", 60))
    knockd.proofs.heard(GateState(ok=True))
    knockd.now = 1_011.0
    knockd.proofs.session_opened(session("2001:db8::1", 40_001))
    late = Proof((("2001:db8::1", 1_010.0),), (("2001:db8::1", 40_001, 1_011.0),))
    assert await knockd.proofs.proof(ProofRequest(1_005.0)) == late
    everything = await knockd.proofs.proof(ProofRequest(0.0))
    assert len(everything.knocks) == len(everything.sessions) == 2
    assert await knockd.proofs.proof(ProofRequest(2_000.0)) == Proof((), ())


async def test_memory_is_bounded_and_the_answer_fits() -> None:
    knockd = Knockd()
    for number in range(3 * MAX_REMEMBERED):
        knockd.proofs.heard(Admitted(f"192.0.2.{number}", 60))
        knockd.proofs.session_opened(session("192.0.2.1", number))
    proof = await knockd.proofs.proof(ProofRequest(0.0))
    assert len(proof.knocks) == len(proof.sessions) == MAX_REMEMBERED
    assert proof.sessions[-1][1] == 3 * MAX_REMEMBERED - 1
