"""What may be said to a keeper and by it."""

import msgspec
import pytest

from hyperion.proto.control import Drain, Fault, Message, Pulse, Ready, Stop
from hyperion.proto.control_keeper import HostNames, KeeperToSupervisor, RoutingRule, SupervisorToKeeper

ORDERS: list[Message] = [
    HostNames("/etc/hosts", (("10.99.0.10", "web1.hyperion"),)),
    RoutingRule((4,), 1, 2, 3),
    Stop(),
]
REPORTS: list[Message] = [Ready(1), Pulse(), Fault("x", 77)]


@pytest.mark.parametrize(
    ("said", "union", "other"),
    [(ORDERS, SupervisorToKeeper, KeeperToSupervisor), (REPORTS, KeeperToSupervisor, SupervisorToKeeper)],
    ids=["to the keeper", "from the keeper"],
)
def test_each_direction_has_its_own_words(said: list[Message], union: type, other: type) -> None:
    for message in said:
        raw = msgspec.msgpack.encode(message)
        assert msgspec.msgpack.decode(raw, type=union) == message
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(raw, type=other)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Drain(1.0)), type=union)
