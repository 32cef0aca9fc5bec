"""What may be said to tund and by it."""

import msgspec
import pytest

from hyperion.proto.control import Fault, Heartbeat, Message, Ready, Stop
from hyperion.proto.control_knockd import Revoke
from hyperion.proto.control_tund import (
    DeviceMade,
    DeviceSettings,
    ForgetTarget,
    ReflectorCounts,
    SupervisorToTund,
    TargetState,
    TundConfig,
    TundToSupervisor,
    WantListener,
)

ORDERS: list[Message] = [
    TundConfig(DeviceSettings("hyperion0", "10.99.0.1/24", None, 65_535, ("192.0.2.7/32",), 4711)),
    TargetState("web1", ("10.99.0.10",), True, False, ((22, 40_000),)),
    ForgetTarget("web1"),
    Stop(),
]
REPORTS: list[Message] = [
    Ready(1),
    DeviceMade("hyperion0", ("10.99.0.1",), shortcut=False),
    WantListener("web1", 22),
    ReflectorCounts({"reset": 3}),
    Fault("x", 78),
]


@pytest.mark.parametrize(
    ("said", "union", "other"),
    [(ORDERS, SupervisorToTund, TundToSupervisor), (REPORTS, TundToSupervisor, SupervisorToTund)],
    ids=["to tund", "from tund"],
)
def test_each_direction_has_its_own_words(said: list[Message], union: type, other: type) -> None:
    for message in said:
        raw = msgspec.msgpack.encode(message)
        assert msgspec.msgpack.decode(raw, type=union) == message
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(raw, type=other)


@pytest.mark.parametrize("message", [Revoke("192.0.2.1"), Heartbeat(1, 2, 3, 4, 5, 6)])
def test_words_of_other_children_are_refused(message: Message) -> None:
    for union in (SupervisorToTund, TundToSupervisor):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=union)
