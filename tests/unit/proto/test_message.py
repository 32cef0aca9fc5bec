import msgspec
import pytest

from hyperion.proto import control
from hyperion.proto.message import Message


class Ping(Message, frozen=True, tag="ping"):
    number: int


def test_it_says_what_it_is() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Ping(3))) == {"t": "ping", "number": 3}


@pytest.mark.parametrize("said", [{"t": "pong", "number": 3}, {"t": "ping", "number": 3, "more": 1}])
def test_nothing_else_is_taken_for_it(said: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=Ping)


def test_control_has_the_same() -> None:
    assert control.Message is Message
