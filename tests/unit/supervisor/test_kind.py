import pytest

from hyperion.capabilities import Capability
from hyperion.channel import ChannelError
from hyperion.proto.admins import Roster
from hyperion.proto.control import ClientWorkerConfig, LogSettings, ServerWorkerConfig, Stop, TunnelState
from hyperion.proto.control_knockd import KNOCKD_PULSE_SECONDS
from hyperion.supervisor.kind import HELPER_LONG_LIFE, HELPER_LONGEST_WAIT, KNOCKD, TUND, WORKER
from hyperion.supervisor.member import SECOND_CHANCE
from hyperion.supervisor.restart import LONG_LIFE, LONGEST_WAIT

SERVER = ServerWorkerConfig("0", b"s" * 32, b"p" * 32, Roster(), 3.0, "here", LogSettings())
CLIENT = ClientWorkerConfig("web", "h", 1, b"s" * 32, b"s" * 32, b"p" * 32, 1, (), LogSettings())


def test_workers_have_no_rights_and_helpers_only_theirs() -> None:
    assert not WORKER.is_helper
    assert WORKER.rights is None
    assert KNOCKD.is_helper
    assert KNOCKD.rights == frozenset({Capability.NET_ADMIN, Capability.NET_RAW})


def test_a_helper_is_back_soon() -> None:
    assert WORKER.longest_wait == LONGEST_WAIT
    assert KNOCKD.longest_wait == HELPER_LONGEST_WAIT < 1
    assert WORKER.long_life == LONG_LIFE
    assert KNOCKD.long_life == HELPER_LONG_LIFE < 2


def test_only_the_clients_workers_speak_of_tunnels() -> None:
    state = TunnelState(0, 4, "refused", None)
    WORKER.conversation(7, CLIENT).check(state)
    with pytest.raises(ChannelError):
        WORKER.conversation(7, SERVER).check(state)
    with pytest.raises(ChannelError):
        KNOCKD.conversation(7, Stop()).check(state)


def test_a_knockd_that_hangs_is_noticed_within_a_few_seconds() -> None:
    assert KNOCKD.silence is not None
    # Three signs of life, and the last may come late.
    assert 3 * KNOCKD_PULSE_SECONDS < KNOCKD.silence + SECOND_CHANCE < 4 * KNOCKD_PULSE_SECONDS
    assert KNOCKD.silence + KNOCKD_PULSE_SECONDS <= 4
    assert WORKER.silence is TUND.silence is None
