"""``proto.errors``: whose fault it is can be told from the class, and the reason from the object."""

import pytest

from hyperion.proto import errors


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        errors.ProtocolError("anything")


@pytest.mark.parametrize("kind", [errors.LocalProtocolError, errors.StreamLimitError, errors.StreamStateError])
def test_ours(kind: type[errors.ProtocolError]) -> None:
    error = kind("what happened")
    assert isinstance(error, errors.LocalProtocolError)
    assert not isinstance(error, errors.RemoteProtocolError)
    assert str(error) == "what happened"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.RemoteProtocolError("x"), "protocol-error"),
        (errors.HandshakeError("x"), "handshake-failed"),
        (errors.HandshakeError("x", reason="replay"), "replay"),
        (errors.RecordError("x"), "decrypt-failed"),
        (errors.YamuxError("x", go_away=1), "mux-error"),
    ],
)
def test_theirs(error: errors.RemoteProtocolError, reason: str) -> None:
    assert not isinstance(error, errors.LocalProtocolError)
    assert error.reason == reason


def test_a_reason_belongs_to_one_error() -> None:
    errors.HandshakeError("x", reason="replay")
    assert errors.HandshakeError("y").reason == "handshake-failed"


def test_go_away_code() -> None:
    assert errors.YamuxError("x", go_away=2).go_away == 2
    assert errors.YamuxError("x", go_away=None).go_away is None
