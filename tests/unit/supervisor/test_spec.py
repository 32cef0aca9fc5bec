from hyperion.proto.control import PULSE_SECONDS, Stop
from hyperion.supervisor.kind import KNOCKD
from hyperion.supervisor.spec import Spec, Timing


def test_patience_is_counted_in_heartbeats() -> None:
    assert Timing().silence == 4 * PULSE_SECONDS
    assert Timing().freshness == 3 * PULSE_SECONDS


def test_who_listens_makes_no_difference() -> None:
    one = Spec("a", "hyp-a", "module", Stop(), kind=KNOCKD, ended=lambda: None)
    assert one == Spec("a", "hyp-a", "module", Stop(), kind=KNOCKD)
    assert one != Spec("a", "hyp-a", "module", Stop())
