from typing import Any

from hyperion.config import Admin
from hyperion.proto.control import Heartbeat, SessionOpened
from hyperion.proto.operator import MAX_LISTED_GRANTS, MAX_LISTED_SESSIONS, GateLine, GrantLine, ServerStatus
from hyperion.supervisor.life import Facts
from hyperion.supervisor.status_server import server_status
from tests.helpers.supervise import key

FINE = Facts("up", pid=21, started_at=5.0, restarts=1, reason="exit code 1", heard_s=0.1)
BEAT = Heartbeat(2, 3, 4, 5, 6, 7)
ALICE = Admin("alice", key(3).public(), frozenset({443, 22}))
BOB = Admin("bob", key(4).public(), frozenset(), 99.0)


def session(name: str, admin: str = "alice", at: float = 1.0) -> SessionOpened:
    return SessionOpened(name, "192.0.2.9", 4711, admin, "hyperion/1", at)


def status(**more: Any) -> ServerStatus:
    known: dict[str, Any] = {
        "listen": "0.0.0.0:8443",
        "config_path": "/c",
        "log_path": None,
        "phase": "up",
        "started_at": 1.0,
        "egress": [443, 22],
        "admins": (BOB, ALICE),
        "workers": {"0": (FINE, BEAT)},
        "sessions": {"0": {"a": session("a"), "b": session("b", at=2.0)}},
        "gate": GateLine(state="off"),
    }
    return server_status(**known | more)


def test_everything_of_a_server_in_good_health() -> None:
    said = status()
    assert (said.state, said.reason, said.listen, said.egress) == ("up", None, "0.0.0.0:8443", [22, 443])
    (worker,) = said.workers
    assert (worker.name, worker.state, worker.pid, worker.restarts, worker.reason) == ("0", "up", 21, 1, None)
    assert (worker.sessions, worker.streams, worker.sessions_total, worker.streams_total) == (2, 3, 4, 5)
    assert (worker.bytes_in, worker.bytes_out) == (6, 7)
    assert [(admin.name, admin.sessions, admin.ports, admin.expires_at) for admin in said.admins] == [
        ("alice", 2, [22, 443], None),
        ("bob", 0, [], 99.0),
    ]
    assert said.admins[0].fingerprint.startswith("SHA256:")
    assert [(line.id, line.worker, line.admin) for line in said.sessions] == [("b", "0", "alice"), ("a", "0", "alice")]
    assert said.sessions_open == 2


def test_a_worker_that_is_away_takes_its_sessions_and_counters_along() -> None:
    away = Facts("restarting", restarts=2, reason="SIGSEGV")
    said = status(workers={"0": (away, BEAT), "1": (FINE, BEAT)})
    assert (said.state, said.reason) == ("degraded", "worker 0 is not up")
    assert (said.workers[0].sessions, said.workers[0].reason) == (0, "SIGSEGV")
    assert said.sessions_open == 0
    both = status(workers={"0": (away, None), "1": (away, None)})
    assert both.reason == "worker 0, 1 are not up"


def test_a_shut_gate() -> None:
    said = status(gate=GateLine(state="shut", reason="knockd is not ready"))
    assert (said.state, said.reason) == ("degraded", "the gate is shut: knockd is not ready")
    assert status(gate=GateLine(state="ok")).state == "up"
    assert status(gate=GateLine(state="shut"), phase="starting").state == "starting"


def test_the_lists_are_bounded_and_the_counts_are_not() -> None:
    many = {str(number): session(str(number), at=float(number)) for number in range(MAX_LISTED_SESSIONS + 5)}
    said = status(sessions={"0": many})
    assert said.sessions_open == MAX_LISTED_SESSIONS + 5
    assert len(said.sessions) == MAX_LISTED_SESSIONS
    assert said.sessions[0].id == str(MAX_LISTED_SESSIONS + 4)
    grants = [
        GrantLine(source=str(number), expires_at=0.0, remaining_s=number) for number in range(MAX_LISTED_GRANTS + 5)
    ]
    said = status(grants=grants)
    assert said.grants_open == MAX_LISTED_GRANTS + 5
    assert said.grants[0].remaining_s == MAX_LISTED_GRANTS + 4
