"""``proto.control_knockd``: each direction is a closed union, and the knock key does not show."""

import msgspec
import pytest

from hyperion.proto import control_knockd
from hyperion.proto.admins import Roster
from hyperion.proto.control import Heartbeat, Message, ServerPolicy
from hyperion.proto.control_knockd import (
    Admitted,
    Ended,
    Fault,
    GateState,
    GuardedTable,
    Held,
    Hold,
    InheritedTable,
    KnockCounts,
    KnockdConfig,
    KnockdToSupervisor,
    Pulse,
    Ready,
    Revoke,
    Standing,
    Stop,
    SupervisorToKnockd,
)

KEY = bytes(range(100, 132))
CONFIG = KnockdConfig(
    knock_key=KEY,
    server_public=bytes(32),
    knock_port=8443,
    tunnel_port=8443,
    window=30,
    table="hyperion",
    set="admitted",
    ttl=60,
    replay_path="/run/hyperion/replay",
    one_shot=True,
)
DOWN: list[SupervisorToKnockd] = [
    CONFIG,
    InheritedTable("table inet x {}", ""),
    Revoke(source="192.0.2.1"),
    Hold(seconds=30.0),
    Stop(),
]
UP: list[KnockdToSupervisor] = [
    Ready(pid=17),
    Pulse(),
    Admitted(source="192.0.2.1", ttl=60, knock="5f2c9a1e"),
    Standing(source="192.0.2.1", left=12.5),
    Ended(source="192.0.2.1", reason="expired"),
    KnockCounts(verdicts={"accepted": 1, "stale": 2}, dropped=3),
    GateState(ok=False, reason="table: contested"),
    GateState(ok=True),
    GuardedTable(listing="table inet x {}", elements="add element inet x y { 1 }"),
    Held(),
    Fault(reason="boom", exit_code=70),
]
DOWN_DECODER: msgspec.msgpack.Decoder[SupervisorToKnockd] = msgspec.msgpack.Decoder(SupervisorToKnockd)
UP_DECODER: msgspec.msgpack.Decoder[KnockdToSupervisor] = msgspec.msgpack.Decoder(KnockdToSupervisor)


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_to_knockd(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    assert DOWN_DECODER.decode(wire) == message
    with pytest.raises(msgspec.ValidationError):
        UP_DECODER.decode(wire)


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_to_the_supervisor(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    assert UP_DECODER.decode(wire) == message
    with pytest.raises(msgspec.ValidationError):
        DOWN_DECODER.decode(wire)


def test_every_message_is_in_one_union() -> None:
    known = {type(message) for message in [*DOWN, *UP]}
    defined = {kind for kind in vars(control_knockd).values() if isinstance(kind, type) and issubclass(kind, Message)}
    assert defined - {Message} == known


@pytest.mark.parametrize(
    "message",
    [ServerPolicy(Roster(), 3.0), Heartbeat(0, 0, 0, 0, 0, 0)],
    ids=lambda message: type(message).__name__,
)
def test_the_words_of_workers_are_refused(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    for decoder in (DOWN_DECODER, UP_DECODER):
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(wire)


def test_the_key_does_not_show() -> None:
    shown = f"{CONFIG!r} {CONFIG} {CONFIG:}"
    assert repr(KEY)[2:-1] not in shown
    assert KEY.hex() not in shown
    assert KEY not in [value for _, value in CONFIG.__rich_repr__()]
