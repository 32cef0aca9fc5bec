from hyperion.proto.control import Heartbeat
from hyperion.worker.counters import Counters


def test_running_streams_are_added_to_those_that_ended() -> None:
    counters = Counters()
    counters.sessions_total, counters.streams_total = 3, 7
    counters.bytes_in, counters.bytes_out = 1000, 2000
    assert counters.heartbeat(2, [(1, 10), (2, 20)]) == Heartbeat(2, 2, 3, 7, 1003, 2030)
    assert counters.heartbeat(0, []) == Heartbeat(0, 0, 3, 7, 1000, 2000)
