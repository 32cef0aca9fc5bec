"""The numbers of a session, against one another and against what the documents promise."""

import msgspec
import pytest

from hyperion.proto.yamux.frame import INITIAL_WINDOW_BYTES
from hyperion.proto.yamux.limits import YamuxLimits

MIB = 1 << 20


def test_what_we_open_a_peer_of_ours_takes() -> None:
    limits = YamuxLimits()
    assert limits.max_unacknowledged <= limits.max_opened < limits.max_streams


def test_a_peer_s_credit_is_what_the_documents_say() -> None:
    limits = YamuxLimits()
    assert limits.max_streams * INITIAL_WINDOW_BYTES + limits.window_budget == 192 * MIB


def test_nobody_changes_them_under_a_session() -> None:
    with pytest.raises(AttributeError):
        YamuxLimits().max_streams = 1  # type: ignore[misc]
    assert msgspec.structs.replace(YamuxLimits(), max_streams=1).max_streams == 1
