"""The server's supervisor with real children: start, orders, reload, crashes, and that nothing is left afterwards."""

import json
import os
import select
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.helpers.supervised import Supervised, ask, open_pidfds, supervised, wait_until_ended

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def others(program: Supervised) -> list[int]:
    return [pid for pid in program.members() if pid != program.pid]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


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


def descriptors(pid: int, kind: str) -> set[str]:
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return {link for link in links if link.startswith(kind)}


@LOOPS
def test_a_killed_worker_comes_back_on_the_same_socket(settings: Path, loop: str) -> None:
    with supervised("server", settings, {}, "--workers", "2", "--loop", loop) as program:
        port, (first, second) = program.port(), program.worker_pids(2)
        index = program.events("HYP4001I")[0]["hyperion"]["worker"]["id"]
        old = descriptors(first, "socket:") & descriptors(program.pid, "socket:")
        os.kill(first, signal.SIGSTOP)  # so that connections wait in its socket
        waiting = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(40)]
        os.kill(first, signal.SIGKILL)
        crash = program.wait_for("HYP4002E")[0]
        assert crash["event"]["reason"] == "killed: perhaps out of memory"
        assert crash["hyperion"]["worker"] == {"id": index, "signal": "SIGKILL", "restarts": 1, "sessions_lost": 1}
        assert crash["process"] == {"pid": first, "exit_code": -9}
        third = program.worker_pids(3)[2]
        assert descriptors(third, "socket:") & descriptors(program.pid, "socket:") == old
        # Not one of those that waited was lost: each was answered by the worker that stayed or the one that came.
        answers = {int(connection.makefile().readline().split()[0]) for connection in waiting}
        assert answers == {second, third}
        for connection in waiting:
            connection.close()


def test_sigterm_to_one_worker_costs_only_that_one(settings: Path) -> None:
    with supervised("server", settings) as program:
        first, second = program.worker_pids(2)
        os.kill(first, signal.SIGTERM)
        third = program.worker_pids(3)[2]
        assert {int(ask(program.port())[0]) for _ in range(100)} == {second, third}
        assert program.wait_for("HYP4002E")[0]["event"]["reason"] == "SIGTERM"


@LOOPS
@pytest.mark.parametrize("entry", ["obedient", "stubborn", "stuck", "never_ready"])
def test_nothing_outlives_a_killed_supervisor(settings: Path, entry: str, loop: str) -> None:
    with supervised("server", settings, {}, "--entry", entry, "--loop", loop) as program:
        if entry == "never_ready":
            while len(others(program)) < 4:  # tracker, fork server and two workers
                assert program.process.poll() is None
        else:
            program.worker_pids(2)
        pidfds = open_pidfds(others(program))
        assert len(pidfds) == 4
        os.kill(program.pid, signal.SIGKILL)
        took = wait_until_ended(pidfds)
        # Who listens to its channel ends at once; the others are ended after their grace.
        assert took < (2 if entry == "obedient" else 15)
        assert program.members() == []


def test_the_death_of_the_fork_server_costs_no_worker(settings: Path) -> None:
    with supervised("server", settings) as program:
        first, second = program.worker_pids(2)
        fork_server = parent_of(first)
        os.kill(fork_server, signal.SIGKILL)
        assert {int(ask(program.port())[0]) for _ in range(100)} == {first, second}
        os.kill(first, signal.SIGKILL)
        third = program.worker_pids(3)[2]
        assert program.wait_for("HYP4002E")[0]["event"]["reason"] == "exit code unknown"
        assert parent_of(third) not in {fork_server, 1}
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.members() == []


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


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("crashes", "worker 0 cannot start: exit code 3"),
        ("wrong_configuration", "worker 0 cannot start: the listener is unusable"),
        ("does_not_exist", "worker 0 cannot start: exit code 1"),
    ],
)
def test_workers_that_can_never_start_end_the_service(settings: Path, entry: str, message: str) -> None:
    with supervised("server", settings, {}, "--workers", "1", "--entry", entry) as program:
        assert program.wait() == 70
        assert program.lines[-1]["failed"] == message
        assert program.members() == []
        tries = len(program.events("HYP4002E"))
        assert tries == (1 if entry == "wrong_configuration" else 5)
        assert program.events("HYP4002E")[-1]["log.level"] == "critical"


def test_a_service_whose_last_worker_is_given_up_ends(settings: Path) -> None:
    with supervised("server", settings, {}, "--workers", "2", "--entry", "gives_up_once_ready") as program:
        assert program.wait() == 70
        assert program.lines[-1]["failed"] == "no worker is left"
        assert len(program.events("HYP4001I")) == 2, "nobody was started twice"


def test_a_crash_loop_slows_down(settings: Path) -> None:
    with supervised("server", settings, {}, "--workers", "1", "--entry", "crashes_once_ready") as program:
        crashes = program.wait_for("HYP4002E", 6)
        assert [line["hyperion"]["worker"]["restarts"] for line in crashes] == [1, 2, 3, 4, 5, 6]
        assert {line["event"]["reason"] for line in crashes} == {"SIGSEGV"}
        # 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s lie between the first and the sixth.
        times = [float(line["@timestamp"][17:23]) for line in (crashes[0], crashes[5])]
        assert (times[1] - times[0]) % 60 > 3.0
        program.send(signal.SIGINT)  # the next start is 3.2 s away, and not waited for
        assert program.wait() == 130
        assert len(program.events("HYP4001I")) == 6


MISBEHAVIOUR = {
    "garbage": "control message of 9 bytes was refused: DecodeError",
    "oversized": "control message announces 65537 bytes, at most 65536",
    "wrong_direction": "refused: ValidationError",
    "out_of_turn": "it said twice that it is ready",
    "impostor": "it calls itself process 1, but is",
}


@LOOPS
@pytest.mark.parametrize(("entry", "reason"), MISBEHAVIOUR.items())
def test_a_child_that_says_what_it_may_not_is_killed(settings: Path, entry: str, reason: str, loop: str) -> None:
    with supervised("server", settings, {}, "--workers", "1", "--entry", entry, "--loop", loop) as program:
        crash = program.wait_for("HYP4002E")[0]
        assert reason in crash["event"]["reason"]
        assert crash["process"]["exit_code"] == -9


def test_a_silent_child_is_killed(settings: Path) -> None:
    with supervised("server", settings, {}, "--workers", "1", "--entry", "stuck", "--silence", "0.4") as program:
        crash = program.wait_for("HYP4002E")[0]
        assert crash["event"]["reason"] == "it was silent for 0.4 s"
        assert crash["process"]["exit_code"] == -9


@LOOPS
def test_a_reload_changes_the_rules_of_running_and_later_workers(settings: Path, loop: str) -> None:
    with supervised("server", settings, {"egress": [22]}, "--workers", "1", "--loop", loop) as program:
        port = program.port()
        assert ask(port)[1] == "22"
        program.rewrite({"egress": [443, 80], "listen": "127.0.0.1:0"})
        reloaded = program.wait_for("HYP5001N")[0]
        assert reloaded["hyperion"]["config"]["changed"] == ["egress"]
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
        ({"admins": 2000, "egress": [80]}, "2000 admins with 1 ports are too many"),
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


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")


def test_a_worker_that_hangs_is_seen_by_the_watchdog_of_the_supervisor_alone(settings: Path) -> None:
    # The announced port answers on, whichever worker is stopped, once the silent one was replaced.
    with supervised("server", settings, {}, "--silence", "0.5") as program:
        port, (first, _) = program.port(), program.worker_pids(2)
        os.kill(first, signal.SIGSTOP)
        program.worker_pids(3)
        answers: list[str] = []
        asking = [threading.Thread(target=lambda: answers.append(ask(port)[0])) for _ in range(20)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(20)
        assert len(answers) == 20
        assert str(first) not in answers


def test_secrets_are_in_no_argument_and_no_environment(settings: Path) -> None:
    needles = [json.dumps(7), struct.pack("B", 7).decode() * 32, "BwcHBwcH"]  # the PSK, raw and in base64
    with supervised("server", settings) as program:
        program.wait_for("HYP0001N")
        for pid in program.members():
            text = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") + environment_of(pid)
            assert not [needle for needle in needles[1:] if needle in text]
        assert not [needle for needle in needles[1:] if needle in "".join(program.raw)]
