import pytest

from hyperion.channel import ChannelError
from hyperion.proto.control import Fault, Heartbeat, Ready, TunnelState, WorkerToSupervisor
from hyperion.supervisor.conversation import Conversation

BEAT = Heartbeat(0, 0, 0, 0, 0, 0)
STATE = TunnelState(0, 4, "refused", None)
FAULT = Fault("x", 70)


@pytest.mark.parametrize(
    ("tunnels", "messages"),
    [
        (False, [Ready(7), BEAT, BEAT, FAULT]),
        (False, [FAULT]),
        (True, [STATE, STATE, Ready(7), STATE, BEAT, STATE, FAULT]),
    ],
)
def test_in_turn(tunnels: bool, messages: list[WorkerToSupervisor]) -> None:
    conversation = Conversation(7, tunnels=tunnels)
    for message in messages:
        conversation.check(message)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([BEAT], "heartbeat before"),
        ([Ready(8)], "calls itself process 8, but is 7"),
        ([Ready(7), Ready(7)], "twice"),
        ([Ready(7), STATE], "tunnels"),
        ([FAULT, FAULT], "after it reported a fault"),
        ([FAULT, Ready(7)], "after it reported a fault"),
        ([Ready(7), FAULT, BEAT], "after it reported a fault"),
    ],
)
def test_out_of_turn(messages: list[WorkerToSupervisor], error: str) -> None:
    conversation = Conversation(7, tunnels=False)
    for message in messages[:-1]:
        conversation.check(message)
    with pytest.raises(ChannelError, match=error):
        conversation.check(messages[-1])
