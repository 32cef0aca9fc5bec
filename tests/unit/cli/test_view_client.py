from typing import Any

from hyperion.cli.style import Line, paint
from hyperion.cli.view_client import client_lines, client_summary
from hyperion.proto.operator import ClientStatus, ForwardLine, TransparentLine, TunnelLine

UP = TunnelLine(
    name="web1",
    address="192.0.2.1:8443",
    state="up",
    fake_ip="10.99.0.10",
    pool_up=2,
    pool_size=2,
    round_trip_ms=12.34,
    streams=3,
    bytes_in=1_200_000,
    bytes_out=34,
    since=1_000.0,
    ports=[22, 443],
    skew_ms=100,
    agent="hyperion/1",
    server_name="web\x1b[2J",
    forwards=[ForwardLine(local="127.0.0.1:2222", remote_port=22)],
)
DOWN = TunnelLine(
    name="db3",
    address="192.0.2.3:8443",
    state="down",
    reason="refused",
    message="connection refused by 192.0.2.3:8443",
    hint="is it running?",
    next_attempt_at=8_204.0,
    pool_size=2,
    since=7_900.0,
)


def status(*servers: TunnelLine, **more: Any) -> ClientStatus:
    known: dict[str, Any] = {"state": "up", "pid": 17, "at": 8_200.0, "started_at": 700.0} | more
    up = sum(server.pool_up > 0 for server in servers)
    return ClientStatus(servers=list(servers), servers_total=len(servers), servers_up=up, **known)


def text(lines: list[Line]) -> list[str]:
    return [paint(line, color=False) for line in lines]


def test_not_running() -> None:
    assert text(client_lines(ClientStatus())) == ["hyperion: down"]
    assert client_summary(ClientStatus()) == "hyperion: down"


def test_worst_first_with_reason_and_what_to_do() -> None:
    assert text(client_lines(status(DOWN, UP, state="degraded"))) == [
        "hyperion: UP (pid 17)",
        "1 of 2 servers up, for 2 h 5 min",
        "transparent mode: off",
        "",
        "name  state  fake ip     pool  rtt      streams  in      out   for    ports   skew",
        "db3   down   -           0/2   -        0        0 B     0 B   5 min  -       -",
        "    refused: connection refused by 192.0.2.3:8443; next try in 4.0 s",
        "    hint: is it running?",
        "    next: hyperion-client doctor db3",
        "web1  up     10.99.0.10  2/2   12.3 ms  3        1.2 MB  34 B  2 h    22,443  +0.1 s",
    ]


def test_a_narrow_terminal_loses_columns_and_no_reason() -> None:
    lines = text(client_lines(status(DOWN, UP), width=40))
    assert lines[4] == "name  state  fake ip     pool  rtt"
    assert "    hint: is it running?" in lines


def test_verbose_tells_forwards_and_what_the_server_says_of_itself() -> None:
    lines = text(client_lines(status(UP), verbose=True))
    assert lines[-2:] == [
        "    forward 127.0.0.1:2222 -> web1:22",
        "    at 192.0.2.1:8443, says it is web\\x1b[2J, hyperion/1",
    ]


def test_a_clock_that_is_off_is_told() -> None:
    off = TunnelLine(name="a", address="b:1", state="up", pool_up=1, pool_size=1, skew_ms=-31_000)
    assert text(client_lines(status(off)))[-1] == "    hint: its clock and this one differ: set both by NTP"


def test_transparent_mode() -> None:
    off = TransparentLine(state="off", reason="it needs root")
    assert text(client_lines(status(transparent=off)))[2] == "transparent mode: off (it needs root)"
    on = TransparentLine(state="up", device="hyperion0", address="10.99.0.1/24")
    assert text(client_lines(status(transparent=on)))[2] == "tun device hyperion0 at 10.99.0.1/24"
    assert text(client_lines(status(UP, transparent=on)))[2] == "tun device hyperion0 at 10.99.0.1/24"
    real = text(client_lines(status(DOWN, transparent=on)))
    assert real[2] == "tun device hyperion0 at 10.99.0.1/24, under the servers' real addresses"


def test_socks() -> None:
    assert "SOCKS at 127.0.0.1:1080, [::1]:1080" in text(client_lines(status(socks=["127.0.0.1:1080", "[::1]:1080"])))
    assert not [line for line in text(client_lines(status())) if "SOCKS" in line]


def test_a_phase_is_told() -> None:
    assert text(client_lines(status(UP, state="draining")))[1] == "draining: 1 of 1 server up, for 2 h 5 min"


def test_the_summary_groups_by_reason() -> None:
    other = TunnelLine(name="web9", address="x:1", state="down", reason="refused", pool_size=2)
    third = TunnelLine(name="gw", address="x:1", state="starting", pool_size=2)
    assert client_summary(status(DOWN, other, third, UP)) == "1 up, 3 down (refused: db3, web9; starting: gw)"
    assert client_summary(status(UP)) == "1 up"


def many(count: int, reason: str = "refused") -> list[TunnelLine]:
    return [
        TunnelLine(
            name=f"node{number}",
            address=f"192.0.2.{number}:8443",
            state="down",
            reason=reason,
            message=f"{reason} by 192.0.2.{number}:8443",
            hint="is it running?",
            pool_size=2,
        )
        for number in range(1, count + 1)
    ]


def test_many_with_one_reason_are_told_together() -> None:
    """Each keeps its row; the words stand once."""
    lines = text(client_lines(status(*many(12), UP)))
    assert len(lines) == 4 + 1 + 13 + 1 + 4
    assert lines[5].startswith("node1   down: refused  -")
    assert lines[-5:] == [
        "",
        "12 servers, refused: node1, node2, node3, node4, node5, node6 and 6 more",
        "    node1: refused by 192.0.2.1:8443",
        "    hint: is it running?",
        "    next: hyperion-client doctor node1",
    ]


def test_a_few_are_told_each() -> None:
    lines = text(client_lines(status(*many(3), *many(4, "knock-unanswered"))))
    assert sum(line == "    hint: is it running?" for line in lines) == 3 + 1
    assert sum("down: knock-unanswered" in line for line in lines) == 4
    assert sum(line.startswith("    next: ") for line in text(client_lines(status(*many(9)), verbose=True))) == 9


def test_names_are_in_the_order_of_their_numbers() -> None:
    assert client_summary(status(*reversed(many(12)), UP)) == (
        "1 up, 12 down (refused: node1, node2, node3, node4, node5, node6 and 6 more)"
    )
    names = [
        TunnelLine(name=name, address="x:1", state="down", reason="r") for name in ("10", "9b2", "a", "9b10", "\u0662")
    ]
    assert client_summary(status(*names)) == "0 up, 5 down (r: \u0662, 9b2, 9b10, 10, a)"
