from typing import Any

from hyperion.cli.style import Line, paint
from hyperion.cli.view_server import server_lines, server_summary
from hyperion.proto.operator import AdminLine, GateLine, GrantLine, ServerStatus, SessionLine, WorkerLine

WORKERS = [
    WorkerLine(name="0", state="up", pid=21, started_at=100.0, sessions=2, streams=3, bytes_in=1_000, bytes_out=2_000),
    WorkerLine(name="1", state="restarting", restarts=3, reason="SIGSEGV"),
]
ADMINS = [
    AdminLine(name="alice", fingerprint="SHA256:a", ports=[22], sessions=2),
    AdminLine(name="bob", fingerprint="SHA256:b", ports=[]),
]
SESSION = SessionLine(
    id="5f2c", admin="alice", source="192.0.2.9", source_port=4711, worker="0", opened_at=190.0, agent="evil\x1b[2J"
)


def status(**more: Any) -> ServerStatus:
    known: dict[str, Any] = {
        "state": "up",
        "pid": 17,
        "at": 200.0,
        "listen": "0.0.0.0:8443",
        "egress": [22, 5432],
        "gate": GateLine(state="off"),
        "workers": WORKERS[:1],
        "admins": ADMINS,
        "sessions_open": 2,
        "sessions": [SESSION],
    }
    return ServerStatus(**known | more)


def text(lines: list[Line]) -> list[str]:
    return [paint(line, color=False) for line in lines]


def test_not_running() -> None:
    assert text(server_lines(ServerStatus())) == ["hyperion-server: down"]
    assert server_summary(ServerStatus()) == "hyperion-server: down"


def test_not_running_but_configured() -> None:
    configured = ServerStatus(
        listen="0.0.0.0:8443", gate=GateLine(state="enabled", port=8443), admins=ADMINS[1:], egress=[]
    )
    assert text(server_lines(configured)) == [
        "hyperion-server: down",
        "listen: 0.0.0.0:8443",
        "knock:  enabled on udp/8443",
        "admins: 1",
        "egress: deny-all (no ports allowed yet)",
    ]


def test_the_first_lines_are_the_originals() -> None:
    same = [AdminLine(name=admin.name, fingerprint="", ports=[22, 5432], sessions=admin.sessions) for admin in ADMINS]
    assert text(server_lines(status(admins=same))) == [
        "hyperion-server: UP (pid 17)",
        "listen: 0.0.0.0:8443",
        "knock:  off",
        "admins: 2, connected: alice (2 sessions)",
        "egress: 22, 5432",
        "grants: the gate is off: whoever the firewall lets in may try",
        "",
        "worker  state  pid  for         sessions  streams  in      out     restarts",
        "0       up     21   1 min 40 s  2         3        1.0 kB  2.0 kB  0",
    ]


def test_what_is_wrong_stands_at_the_top() -> None:
    gate = GateLine(
        state="shut", reason="table: contested", port=8443, verdicts={"replay": 3, "accepted": 1}, dropped=7
    )
    lines = text(server_lines(status(state="degraded", reason="the gate is shut", gate=gate, workers=WORKERS)))
    assert lines[0] == "hyperion-server: UP (pid 17) degraded: the gate is shut"
    assert lines[2] == "knock:  enabled on udp/8443, shut: table: contested (1 accepted, 3 replay), 7 packets lost"
    assert lines[3].startswith("    next: ")
    assert lines[6] == "grants: none open"
    assert lines[9].split() == ["1", "restarting", "-", "-", "0", "0", "0", "B", "0", "B", "3"]
    assert lines[-1] == "    worker 1: SIGSEGV"


def test_who_knocks_in_vain_is_told_with_what_to_look_for() -> None:
    for number, who in ((1, "1 source knocks"), (2, "2 sources knock")):
        lines = text(server_lines(status(gate=GateLine(state="ok", port=8443, in_vain=number))))
        assert lines[2] == f"knock:  enabled on udp/8443, ok, {who} in vain"
        assert "does another firewall drop the port?" in lines[3]
        assert "--max-connections" in lines[4]


def test_grants_have_the_time_they_have_left() -> None:
    grants = [GrantLine(source=f"192.0.2.{number}", expires_at=0, remaining_s=42.7) for number in range(10)]
    gate = GateLine(state="ok", port=8443)
    line = text(server_lines(status(gate=gate, grants_open=10, grants=grants)))[5]
    assert line.startswith("grants: 10 open: 192.0.2.0 (42 s left), 192.0.2.1 (42 s left)")
    assert line.endswith("and 2 more")


def test_verbose_lists_sessions() -> None:
    lines = text(server_lines(status(), verbose=True))
    assert lines[-3:] == [
        "admin  source               for   worker  session  agent",
        "alice  192.0.2.9 port 4711  10 s  0       5f2c     evil\\x1b[2J",
        "and 1 more",
    ]


def test_the_summary() -> None:
    assert server_summary(status(workers=WORKERS, state="degraded", reason="worker 1 is not up")) == (
        "degraded (worker 1 is not up): 1 of 2 workers up, 2 sessions, gate off"
    )


def test_admins_with_ports_of_their_own() -> None:
    assert text(server_lines(status()))[4] == "egress: alice: 22; bob: none"
    many = [AdminLine(name=str(number), fingerprint="", ports=[]) for number in range(10)]
    assert text(server_lines(status(admins=many)))[4].endswith("; 7: none; and 2 more")
