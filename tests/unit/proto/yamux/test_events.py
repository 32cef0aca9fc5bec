"""``proto.yamux.events``: values that compare, do not change, and show no bytes of a peer when they need not."""

import typing

import pytest

from hyperion.proto.errors import YamuxError
from hyperion.proto.yamux import events
from hyperion.proto.yamux.stream import YamuxStream
from hyperion.proto.yamux.window import ReceiveWindow, WindowBudget


def stream() -> YamuxStream:
    return YamuxStream(7, ReceiveWindow(WindowBudget()), first_flags=0, acknowledged=True)


def test_every_event_is_in_the_union() -> None:
    defined = {kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__}
    assert defined == set(typing.get_args(events.YamuxEvent))


def test_events_compare_by_what_they_say() -> None:
    one = stream()
    assert events.StreamOpened(one) == events.StreamOpened(one)
    assert events.StreamOpened(one) != events.StreamOpened(stream())
    assert events.RoundTrip(0.5) == events.RoundTrip(0.5)
    assert events.PeerWentAway(1) != events.PeerWentAway(2)


def test_events_do_not_change() -> None:
    event = events.SessionFailed(YamuxError("x", go_away=1))
    with pytest.raises(AttributeError):
        event.error = YamuxError("y", go_away=1)  # type: ignore[misc]


def test_data_does_not_show_itself() -> None:
    shown = repr(events.StreamData(stream(), memoryview(b"a secret")))
    assert "secret" not in shown
    assert "YamuxStream(7)" in shown
