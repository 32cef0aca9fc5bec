"""The server's supervisor when children crash, hang or lie, and when it is killed itself."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.helpers.supervised import ask, descriptors, open_pidfds, others, parent_of, supervised, wait_until_ended

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


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
        assert crash["event"]["reason"] == "it was silent for 1.4 s"
        assert crash["process"]["exit_code"] == -9


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
