from hyperion.supervisor.spec import Timing
from hyperion.worker.main import HEARTBEAT_INTERVAL


def test_patience_is_counted_in_heartbeats() -> None:
    assert Timing().silence == 4 * HEARTBEAT_INTERVAL
    assert Timing().freshness == 3 * HEARTBEAT_INTERVAL
