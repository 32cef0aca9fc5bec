from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperion.config import ClientConfig, Endpoint, KnockSettings, ServerEntry, TunSettings
from hyperion.proto.control import Heartbeat, TunnelState
from hyperion.proto.operator import ForwardLine
from hyperion.supervisor.life import Facts
from hyperion.supervisor.status_client import Known, client_status, tunnel_line, tunnel_state
from tests.helpers.supervise import key, psk


def entry(name: str) -> ServerEntry:
    return ServerEntry(name, Endpoint("192.0.2.1", 8443), key(2).public(), psk(7), 2, IPv4Address("10.99.0.10"))


def config(*names: str) -> ClientConfig:
    servers = tuple(entry(name) for name in names)
    tun = TunSettings(IPv4Address("10.99.0.1"), 24, 1400)
    return ClientConfig(Path("/c/hyperion.toml"), key(1), servers, (), KnockSettings(False, None, 60), tun)


FINE = Facts("up", pid=21, started_at=5.0, restarts=1, heard_s=0.1)
UP = TunnelState(
    2,
    2,
    None,
    0.0123,
    since=7.0,
    agent="hyperion/1",
    server_name="web",
    skew_ms=-20,
    ports=(443, 22),
    last_error_at=3.0,
)
DOWN = TunnelState(0, 2, "refused", None, message="connection refused", hint="start it", next_attempt_at=9.0)
BEAT = Heartbeat(2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("facts", "state", "expected"),
    [
        (FINE, UP, "up"),
        (FINE, TunnelState(1, 2, "refused", None), "degraded"),
        (FINE, TunnelState(0, 2, "connecting", None), "connecting"),
        (FINE, DOWN, "down"),
        (FINE, None, "starting"),
        (Facts("starting"), None, "starting"),
        (Facts("restarting"), UP, "restarting"),
        (Facts("failed"), UP, "failed"),
    ],
)
def test_states(facts: Facts, state: TunnelState | None, expected: str) -> None:
    assert tunnel_state(facts, state) == expected


def test_under_real_addresses_no_fake_one_is_promised() -> None:
    status = client_status(
        config("web1"), {"web1": Known(FINE, UP, BEAT)}, {}, phase="up", started_at=1.0, log_path=None, real=True
    )
    assert [line.fake_ip for line in status.servers] == [None]


def test_a_line_has_everything() -> None:
    forwards = [ForwardLine(local="127.0.0.1:2222", remote_port=22)]
    line = tunnel_line(entry("web1"), Known(FINE, UP, BEAT), forwards)
    assert (line.name, line.address, line.state, line.fake_ip) == ("web1", "192.0.2.1:8443", "up", "10.99.0.10")
    assert (line.pool_up, line.pool_size, line.round_trip_ms, line.since) == (2, 2, 12.3, 7.0)
    assert (line.streams, line.streams_total, line.bytes_in, line.bytes_out) == (3, 5, 6, 7)
    assert (line.ports, line.skew_ms, line.agent, line.server_name) == ([22, 443], -20, "hyperion/1", "web")
    assert (line.pid, line.restarts, line.heard_s, line.forwards) == (21, 1, 0.1, forwards)
    assert (line.reason, line.message, line.hint, line.next_attempt_at) == (None, None, None, None)


def test_what_is_wrong_and_what_is_done_about_it() -> None:
    line = tunnel_line(entry("web1"), Known(FINE, DOWN, None), ())
    assert (line.reason, line.message, line.hint, line.next_attempt_at) == (
        "refused",
        "connection refused",
        "start it",
        9.0,
    )
    assert (line.streams, line.bytes_in) == (0, 0)


def test_the_tunnels_of_a_dead_worker_are_not_up() -> None:
    line = tunnel_line(entry("web1"), Known(Facts("restarting", restarts=2, reason="SIGSEGV"), UP, BEAT), ())
    assert (line.state, line.pool_up, line.pool_size) == ("restarting", 0, 2)
    assert (line.reason, line.message) == ("worker", "its worker ended: SIGSEGV")


def test_worst_first_and_degraded() -> None:
    known = {
        "a": Known(FINE, UP, BEAT),
        "b": Known(FINE, TunnelState(0, 2, "connecting", None), None),
        "c": Known(FINE, DOWN, None),
        "d": Known(FINE, UP, BEAT),
    }
    status = client_status(config("a", "b", "c", "d"), known, {}, phase="up", started_at=1.0, log_path="/l")
    assert [line.name for line in status.servers] == ["c", "b", "a", "d"]
    assert (status.state, status.servers_up, status.servers_total) == ("degraded", 2, 4)
    assert (status.config, status.log) == ("/c/hyperion.toml", "/l")
    whole = client_status(config("a", "d"), known, {}, phase="up", started_at=1.0, log_path=None)
    assert whole.state == "up"
    ending = client_status(config("a", "c"), known, {}, phase="draining", started_at=1.0, log_path=None)
    assert ending.state == "draining"
