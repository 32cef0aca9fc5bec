import pytest

from hyperion.channel import ChannelError
from hyperion.proto.control import (
    Fault,
    Heartbeat,
    Listeners,
    Message,
    Ready,
    SessionClosed,
    SessionOpened,
    TunnelState,
    WorkerToSupervisor,
)
from hyperion.proto.control_knockd import GateState, Pulse
from hyperion.supervisor import conversation as module
from hyperion.supervisor.conversation import HelperConversation, WorkerConversation

BEAT = Heartbeat(0, 0, 0, 0, 0, 0)
STATE = TunnelState(0, 4, "refused", None)
FAULT = Fault("x", 70)


def opened(name: str, source: str = "192.0.2.9") -> SessionOpened:
    return SessionOpened(name, source, 4711, "alice", None, 0.0)


@pytest.mark.parametrize(
    ("tunnels", "messages"),
    [
        (False, [Ready(7), BEAT, BEAT, FAULT]),
        (False, [FAULT]),
        (False, [Ready(7), opened("a"), opened("b"), SessionClosed("a"), opened("a"), SessionClosed("b")]),
        (False, [Ready(7), opened("a", "::ffff:192.0.2.9"), opened("b", "fe80::1%eth0")]),
        (True, [STATE, STATE, Ready(7), STATE, BEAT, STATE, FAULT]),
    ],
)
def test_in_turn(tunnels: bool, messages: list[WorkerToSupervisor]) -> None:
    conversation = WorkerConversation(7, tunnels=tunnels)
    for message in messages:
        conversation.check(message)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([BEAT], "heartbeat before"),
        ([Ready(8)], "calls itself process 8, but is 7"),
        ([Ready(7), Ready(7)], "twice"),
        ([Ready(7), STATE], "tunnels"),
        ([opened("a")], "before it was ready"),
        ([Ready(7), opened("a"), opened("a")], "twice"),
        ([Ready(7), opened("a", "nowhere")], "no address"),
        ([Ready(7), SessionClosed("a")], "that it had not opened"),
        ([Ready(7), opened("a"), SessionClosed("a"), SessionClosed("a")], "that it had not opened"),
        ([FAULT, FAULT], "after it reported a fault"),
        ([FAULT, Ready(7)], "after it reported a fault"),
        ([Ready(7), FAULT, BEAT], "after it reported a fault"),
    ],
)
def test_out_of_turn(messages: list[WorkerToSupervisor], error: str) -> None:
    conversation = WorkerConversation(7, tunnels=False)
    for message in messages[:-1]:
        conversation.check(message)
    with pytest.raises(ChannelError, match=error):
        conversation.check(messages[-1])


def test_a_child_with_tunnels_has_no_sessions() -> None:
    conversation = WorkerConversation(7, tunnels=True)
    conversation.check(Ready(7))
    with pytest.raises(ChannelError, match="sessions"):
        conversation.check(opened("a"))
    with pytest.raises(ChannelError, match="not opened"):
        conversation.check(SessionClosed("a"))


def test_no_more_sessions_are_believed_than_a_process_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 2)
    conversation = WorkerConversation(7, tunnels=False)
    conversation.check(Ready(7))
    conversation.check(opened("a"))
    conversation.check(opened("b"))
    with pytest.raises(ChannelError, match="more than 2 sessions"):
        conversation.check(opened("c"))


@pytest.mark.parametrize("messages", [[Ready(7), Pulse(), GateState(ok=True), FAULT], [FAULT]])
def test_a_helper_in_turn(messages: list[Message]) -> None:
    conversation = HelperConversation(7)
    for message in messages:
        conversation.check(message)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([Pulse()], "Pulse before it was ready"),
        ([GateState(ok=True)], "GateState before it was ready"),
        ([Ready(8)], "calls itself process 8, but is 7"),
        ([Ready(7), Ready(7)], "twice"),
        ([Ready(7), FAULT, Pulse()], "after it reported a fault"),
    ],
)
def test_a_helper_out_of_turn(messages: list[Message], error: str) -> None:
    conversation = HelperConversation(7)
    for message in messages[:-1]:
        conversation.check(message)
    with pytest.raises(ChannelError, match=error):
        conversation.check(messages[-1])


def test_what_is_passed_on_to_tund_stays_short_enough() -> None:
    conversation = WorkerConversation(7, tunnels=True)
    ports = [(port, port) for port in range(module.MAX_LISTENERS + 1)]
    conversation.check(Listeners(True, tuple(ports[1:])))
    with pytest.raises(ChannelError, match="more than 256 ports"):
        conversation.check(Listeners(True, tuple(ports)))
