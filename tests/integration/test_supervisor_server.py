"""The server's supervisor with real children: start, orders, reload, crashes, and that nothing is left afterwards."""

import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.helpers.supervised import (
    ask,
    descriptors,
    environment_of,
    name_of,
    open_pidfds,
    others,
    parent_of,
    supervised,
)

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


@LOOPS
def test_starts_serves_and_drains(settings: Path, loop: str) -> None:
    with supervised("server", settings, {}, "--workers", "2", "--loop", loop) as program:
        started = program.wait_for("HYP0001N")[0]
        assert started["hyperion"] == {
            "effective": {"loop": loop, "workers": 2},
            "listen": f"127.0.0.1:{program.port()}",
        }
        workers = program.worker_pids(2)
        seen = {int(ask(program.port())[0]) for _ in range(100)}
        assert seen == set(workers)
        assert sorted(map(name_of, workers)) == ["hyp-worker-0", "hyp-worker-1"]
        assert name_of(program.pid) == "hyperion-server"
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.members() == []
        assert program.events("HYP0002N")[0]["event"]["reason"] == "drain"
        assert len(program.events("HYP4004I")) == 2
        assert program.events("HYP4002E") == []
        assert "Traceback" not in "".join(program.raw)
        assert "resource_tracker" not in "".join(program.raw)


@LOOPS
def test_ctrl_c_reaches_the_whole_group_and_only_the_supervisor_decides(settings: Path, loop: str) -> None:
    with supervised("server", settings, {}, "--loop", loop) as program:
        program.wait_for("HYP0001N")
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait() == 130
        assert program.members() == []
        assert {line["process"]["exit_code"] for line in program.events("HYP4004I")} == {0}
        assert "Traceback" not in "".join(program.raw)


def test_a_worker_does_not_import_the_command_line(settings: Path) -> None:
    with supervised("server", settings) as program:
        assert ask(program.port())[2].strip() == "-"


def test_the_fork_server_holds_no_socket_and_children_only_their_own(settings: Path) -> None:
    with supervised("server", settings, {}, "--workers", "3") as program:
        workers = program.worker_pids(3)
        fork_server = parent_of(workers[0])
        assert [parent_of(pid) for pid in workers] == [fork_server] * 3
        assert parent_of(fork_server) == program.pid
        sockets = {pid: descriptors(pid, "socket:") for pid in (program.pid, fork_server, *workers)}
        # Its own listener for requests to fork; and it is none of ours.
        assert len(sockets[fork_server]) == 1
        assert not sockets[fork_server] & sockets[program.pid]
        listening = [sockets[pid] & sockets[program.pid] for pid in workers]
        assert [len(own) for own in listening] == [1, 1, 1]
        assert len(set.union(*listening)) == 3


def test_a_drain_ends_at_its_time_and_then_kills(settings: Path) -> None:
    options = ("--entry", "stubborn", "--drain-timeout", "0.3", "--grace", "0.3")
    with supervised("server", settings, {}, *options) as program:
        program.wait_for("HYP0001N")
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert {line["process"]["exit_code"] for line in program.events("HYP4004I")} == {-9}
        assert program.members() == []


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0)])
def test_a_second_signal_ends_a_drain(settings: Path, second: signal.Signals, code: int) -> None:
    with supervised("server", settings, {}, "--entry", "busy") as program:
        program.wait_for("HYP0001N")
        program.send(signal.SIGTERM)
        program.wait_for("HYP0003N")
        program.send(signal.SIGHUP)  # too late for a reload: nothing happens
        program.send(second)
        assert program.wait() == code
        assert {line["process"]["exit_code"] for line in program.events("HYP4004I")} == {0}


def test_a_third_signal_kills(settings: Path) -> None:
    with supervised("server", settings, {}, "--entry", "stubborn") as program:
        program.wait_for("HYP0001N")
        program.send(signal.SIGTERM)
        program.wait_for("HYP0003N")
        (pidfd,) = open_pidfds(program.worker_pids(1))
        # Two signals of one kind may arrive as one, so again until it is heard; without the kill this takes 35 s.
        started = time.monotonic()
        program.send(signal.SIGINT)
        while not select.select([pidfd], [], [], 0.1)[0]:
            program.send(signal.SIGINT)
        os.close(pidfd)
        assert time.monotonic() - started < 4.0
        assert program.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_before_it_is_ready(settings: Path, number: signal.Signals) -> None:
    options = ("--entry", "never_ready", "--drain-timeout", "0.2", "--grace", "0.2")
    with supervised("server", settings, {}, *options) as program:
        while len(others(program)) < 4:
            assert program.process.poll() is None
        program.send(number)
        assert program.wait() == (0 if number is signal.SIGTERM else 130)
        assert program.events("HYP0001N") == []
        assert program.members() == []


@LOOPS
def test_a_reload_changes_the_rules_of_running_and_later_workers(settings: Path, loop: str) -> None:
    with supervised("server", settings, {"egress": [22]}, "--workers", "1", "--loop", loop) as program:
        port = program.port()
        assert ask(port)[1] == "22"
        program.rewrite({"egress": [443, 80], "listen": "127.0.0.1:0"})
        reloaded = program.wait_for("HYP5001N")[0]
        assert reloaded["hyperion"]["config"]["changed"] == ["admins", "egress"]
        pid, ports, _ = ask(port)
        assert ports == "80,443"
        os.kill(int(pid), signal.SIGKILL)
        program.worker_pids(2)
        assert ask(port)[1] == "80,443"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": "server.toml: [server] no"}, "server.toml: [server] no"),
        ({"listen": "127.0.0.1:1", "egress": [80]}, "a change of listen needs a restart"),
        ({"psk": 9, "listen": "127.0.0.2:0", "egress": [80]}, "a change of listen, psk needs a restart"),
        ({"admins": 2000, "egress": [80]}, "2000 admins with their ports are too many"),
    ],
)
def test_a_refused_reload_changes_nothing(settings: Path, content: dict[str, object], message: str) -> None:
    with supervised("server", settings, {"egress": [22]}) as program:
        port = program.port()
        program.rewrite(content)
        refused = program.wait_for("HYP5002E")[0]
        assert message in refused["error"]["message"]
        assert ask(port)[1] == "22"
        # And the next good one is taken.
        program.rewrite({"egress": [8080]})
        program.wait_for("HYP5001N")
        assert ask(port)[1] == "8080"


def test_a_bug_in_reading_the_configuration_costs_only_the_reload(settings: Path) -> None:
    with supervised("server", settings) as program:
        port = program.port()
        program.rewrite({"bug": True})
        assert program.wait_for("HYP9002E")[0]["error"]["type"] == "ValueError"
        assert ask(port)[1] == "22"


def test_an_address_in_use_is_a_clear_error_before_anything_starts(settings: Path) -> None:
    with supervised("server", settings) as first:
        address = f"127.0.0.1:{first.port()}"
        with supervised("server", settings.with_name("second"), {"listen": address}) as second:
            assert second.wait() == 73
            assert second.lines[-1]["failed"] == f"cannot listen on {address}: the address is in use"


def test_forty_workers_start_together(settings: Path) -> None:
    with supervised("server", settings, {}, "--workers", "40") as program:
        program.wait_for("HYP0001N")
        assert len(set(program.worker_pids(40))) == 40
        first, last = program.events("HYP4001I")[0], program.events("HYP0001N")[0]
        took = (float(last["@timestamp"][17:23]) - float(first["@timestamp"][17:23])) % 60
        assert took < 5.0
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.members() == []


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_the_service_manager_is_told(settings: Path, tmp_path: Path, abstract: bool) -> None:
    name = f"@hyperion-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(20)
        told: list[str] = []

        def hear(wanted: str) -> str:
            while True:
                told.append(manager.recv(4096).decode())
                if told[-1].startswith(wanted):
                    return told[-1]

        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"}
        with supervised("server", settings, {}, environment=environment) as program:
            assert hear("READY=1").startswith("READY=1\nSTATUS=2 workers, ")
            while told[-1].splitlines()[-1] != "STATUS=2 workers, 2 sessions":
                told.append(manager.recv(4096).decode())
            hear("WATCHDOG=1")
            program.rewrite({"egress": [1]})
            reloading = hear("RELOADING=1").splitlines()
            assert reloading[1].removeprefix("MONOTONIC_USEC=").isdecimal()
            hear("READY=1")
            assert "NOTIFY_SOCKET" not in os.fspath(environment_of(program.worker_pids(1)[0]))
            program.send(signal.SIGTERM)
            hear("STOPPING=1")
            assert program.wait() == 0


def test_secrets_are_in_no_argument_and_no_environment(settings: Path) -> None:
    needles = ["\x07" * 32, "BwcHBwcH"]  # the PSK, raw and in base64
    with supervised("server", settings) as program:
        program.wait_for("HYP0001N")
        for pid in program.members():
            text = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") + environment_of(pid)
            assert not [needle for needle in needles if needle in text]
        assert not [needle for needle in needles if needle in "".join(program.raw)]
