import msgspec
import pytest

from hyperion.proto import trial
from hyperion.proto.control import Message
from hyperion.proto.trial import (
    Abandon,
    CommandToTrial,
    Committed,
    Confirmed,
    ConfirmRequest,
    ConfirmToTrial,
    Failed,
    Loaded,
    NotConfirmed,
    Order,
    RolledBack,
    Seen,
    TrialToCommand,
    TrialToConfirm,
)

UNIONS: list[tuple[object, list[Message]]] = [
    (CommandToTrial, [Order(1, "t", "s", (22,), True, False, 64, 90.0, "/run/a", "/run/b"), Abandon()]),
    (
        TrialToCommand,
        [
            Loaded(90.0, True),
            Seen("192.0.2.1", "knock"),
            Committed("knock", "192.0.2.1"),
            RolledBack("no-proof", True),
            Failed("no", None, 77),
        ],
    ),
    (ConfirmToTrial, [ConfirmRequest("192.0.2.1", 1, "192.0.2.2", 22)]),
    (TrialToConfirm, [Confirmed(), NotConfirmed("no", "log in")]),
]


@pytest.mark.parametrize("index", range(len(UNIONS)))
def test_each_direction_is_closed(index: int) -> None:
    kind, messages = UNIONS[index]
    decoder = msgspec.msgpack.Decoder(kind)
    for message in messages:
        assert decoder.decode(msgspec.msgpack.encode(message)) == message
    for other, (_, strangers) in enumerate(UNIONS):
        for stranger in strangers if other != index else ():
            with pytest.raises(msgspec.ValidationError):
                decoder.decode(msgspec.msgpack.encode(stranger))


def test_every_message_is_in_one_union() -> None:
    known = [type(message) for _, messages in UNIONS for message in messages]
    defined = {kind for kind in vars(trial).values() if isinstance(kind, type) and issubclass(kind, Message)}
    assert len(known) == len(set(known))
    assert set(known) == defined - {Message}
