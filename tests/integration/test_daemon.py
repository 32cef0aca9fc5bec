"""Both programs in the background, as a user starts and stops them: real commands, real daemons."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import processes
from hyperion.paths import Program
from hyperion.running import holder
from tests.helpers.config_files import PASSPHRASE
from tests.helpers.home import Home, home, normal
from tests.helpers.waiting import until
from tests.peer.services import closed_port

BOTH: tuple[Program, Program] = ("server", "client")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Home]:
    with home(tmp_path) as it:
        yield it


def test_up_status_reload_down(made: Home) -> None:
    """The life of both, in the words of the original where it has some."""
    up = made.run("server", "up", "--workers", "1")
    assert up.returncode == 0, up.stderr
    assert normal(up.stdout, made).splitlines()[:2] == ["hyperion-server up (pid PID).", "  listen: 127.0.0.1:PORT"]
    server = made.pid("server")
    assert f"(pid {server})" in up.stdout

    up = made.run("client", "up")
    assert up.returncode == 0, up.stdout
    # (on a busy machine the first round trip may still be on its way)
    assert normal(up.stdout, made).replace("(-)", "(N ms)").splitlines()[-2:] == ["web1: up (N ms)", "1 up"]

    status = made.run("client", "status", "--json")
    assert status.returncode == 0
    (line,) = json.loads(status.stdout)["servers"]
    assert (line["name"], line["state"], line["pool_up"], line["pool_size"]) == ("web1", "up", 2, 2)
    assert line["ports"] == [22, 80]
    status = made.run("server", "status", "--json")
    assert status.returncode == 0
    document = json.loads(status.stdout)
    assert [(admin["name"], admin["sessions"]) for admin in document["admins"]] == [("alice", 2)]
    assert {session["source"] for session in document["sessions"]} == {"127.0.0.1"}
    assert document["log"] == str(made.log("server"))

    made.add_server("dead", closed_port())
    reload = made.run("client", "reload")
    assert (reload.returncode, normal(reload.stdout, made)) == (0, "hyperion reloaded (pid PID)\n")
    until(lambda: "refused" in made.run("client", "status").stdout)
    status = made.run("client", "status")
    assert status.returncode == 4
    assert status.stdout.splitlines()[1].startswith("1 of 2 servers up")

    made.server_file.write_text("nonsense")
    reload = made.run("server", "reload")
    assert reload.returncode == 78
    assert "expected valid TOML" in reload.stderr
    assert made.pid("server") == server  # all is as before

    for program, label in zip(BOTH, ("hyperion-server", "hyperion"), strict=True):
        down = made.run(program, "down")
        assert normal(down.stdout, made) == f"{label} down (stopped pid PID)\n"
        assert made.run(program, "status").returncode == 3
        assert not made.runtime(program).exists()
    assert processes.in_session(server) == []


@pytest.mark.parametrize("program", BOTH)
@pytest.mark.parametrize(("ending", "told"), [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "SIGKILL")])
def test_a_child_that_dies_at_once_makes_up_fail_with_its_reason(
    made: Home, program: Program, ending: str, told: str
) -> None:
    """The original could not notice it (WIRE Q10)."""
    site = made.directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f'import os, sys\nif "--launch-fd" in sys.orig_argv:\n    {ending}\n')
    up = made.run(program, "up", environment={"PYTHONPATH": str(site)})
    assert up.returncode == 70
    assert f"hyperion-{program} died before it was ready ({told})" in up.stderr
    assert "hint: see its log" in up.stderr
    assert holder(made.runtime(program)) is None


def test_an_error_that_only_the_daemon_meets_is_told_by_up(made: Home) -> None:
    with socket.create_server(("127.0.0.1", made.port)):
        up = made.run("server", "up")
    assert up.returncode == 73
    assert f"cannot listen on 127.0.0.1:{made.port}: the address is in use" in up.stderr
    assert "hint: " in up.stderr
    assert up.stdout == ""
    assert made.run("server", "status").returncode == 3
    # Its log stays what a reader of JSON can read, and has the reason.
    lines = [json.loads(line) for line in made.log("server").read_text().splitlines()]
    assert lines[-1]["event"]["code"] == "HYP0004E"
    assert lines[-1]["error"]["message"].startswith(f"cannot listen on 127.0.0.1:{made.port}: ")
    assert lines[-1]["process"]["exit_code"] == 73


def race(made: Home, program: Program, rounds: int) -> None:
    command = made.command(program, "up", *(["--no-wait"] if program == "client" else ["--workers", "1"]))
    environment = made.environment(HYPERION_PASSPHRASE=PASSPHRASE)

    def up(_: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    with ThreadPoolExecutor(2) as threads:
        for number in range(rounds):
            done = list(threads.map(up, range(2)))
            codes = sorted(each.returncode for each in done)
            assert codes == [0, 73], (number, [each.stderr for each in done])
            (loser,) = [each for each in done if each.returncode]
            assert f"hyperion-{program} is already running" in loser.stderr
            winner = made.pid(program)
            assert any(f"(pid {winner})" in each.stdout for each in done)
            assert made.run(program, "down", "--now").returncode == 0


@pytest.mark.parametrize("program", BOTH)
def test_two_at_once_are_one_daemon(made: Home, program: Program) -> None:
    race(made, program, 4)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", BOTH)
def test_two_at_once_are_one_daemon_a_hundred_times(made: Home, program: Program) -> None:
    race(made, program, 100)


def test_killed_daemons_leave_nothing_that_anybody_stumbles_over(made: Home) -> None:
    assert made.run("server", "up", "--workers", "1").returncode == 0
    pid = made.pid("server")
    os.kill(pid, signal.SIGKILL)
    until(lambda: processes.in_session(pid) == [])
    assert made.run("server", "status").returncode == 3
    down = made.run("server", "down")
    assert (down.returncode, down.stdout) == (0, f"hyperion-server was not running (cleaned up stale pid {pid})\n")
    assert made.run("server", "up", "--workers", "1").returncode == 0


def test_a_daemon_that_hangs_is_stopped_all_the_same(made: Home) -> None:
    assert made.run("server", "up", "--workers", "1").returncode == 0
    pid = made.pid("server")
    os.kill(pid, signal.SIGSTOP)
    command = made.command("server", "down", "--now")
    down = subprocess.Popen(command, env=made.environment(), stdout=subprocess.PIPE, text=True)
    # Nobody answers, so it is signalled; and what is stopped takes a signal only when it goes on.
    until(lambda: (Path(f"/proc/{pid}/status").read_text().partition("ShdPnd:")[2].split()[0]) != "0" * 16)
    os.kill(pid, signal.SIGCONT)
    assert down.communicate(timeout=60)[0] == f"hyperion-server down (stopped pid {pid})\n"
    assert down.returncode == 0


@pytest.mark.parametrize("program", BOTH)
def test_a_passphrase_from_a_descriptor(made: Home, program: Program) -> None:
    for secret, code in ((PASSPHRASE, 0), ("short", 65)):
        reader, writer = os.pipe()
        os.write(writer, f"{secret}\n".encode())
        os.close(writer)
        more = ["--no-wait"] if program == "client" else ["--workers", "1"]
        words = ["up", *more, "--passphrase-fd", str(reader)]
        done = made.run(program, *words, passphrase=None, pass_fds=(reader,))
        os.close(reader)
        assert done.returncode == code, done.stderr
        if code == 0:
            made.run(program, "down", "--now")


def test_without_a_terminal_nobody_is_asked(made: Home) -> None:
    done = made.run("server", "up", passphrase=None)
    assert done.returncode == 65
    assert "variable HYPERION_PASSPHRASE is not set, and there is no terminal to ask on" in done.stderr


def test_in_the_foreground_it_is_the_one_program_too(made: Home) -> None:
    command = made.command("server", "up", "--foreground", "--workers", "1")
    environment = made.environment(HYPERION_PASSPHRASE=PASSPHRASE)
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        try:
            until(lambda: made.run("server", "status").returncode == 0, 30)
            assert made.pid("server") == program.pid
            assert made.run("server", "up").returncode == 73
            assert made.run("server", "down").returncode == 0
            assert program.wait(20) == 0
        finally:
            program.kill()


def test_some_servers_only(made: Home) -> None:
    made.run("server", "up", "--workers", "1")
    made.add_server("dead", closed_port())
    up = made.run("client", "up", "--only", "web1")
    assert (up.returncode, up.stdout.splitlines()[-1]) == (0, "1 up")
    assert [line["name"] for line in json.loads(made.run("client", "status", "--json").stdout)["servers"]] == ["web1"]
    assert made.run("client", "up", "--only", "web7").returncode == 73  # it runs already
    made.run("client", "down", "--now")
    up = made.run("client", "up", "--only", "web7")
    assert up.returncode == 2
    assert "no server web7" in up.stderr


def test_a_rotated_log_goes_on_in_every_process(made: Home) -> None:
    """As logrotate does it: rename, then SIGUSR1, which must not hurt."""
    assert made.run("server", "up", "--workers", "1").returncode == 0
    assert made.run("client", "up").returncode == 0
    old = made.log("server").with_suffix(".log.1")
    made.log("server").rename(old)
    os.kill(made.pid("server"), signal.SIGUSR1)
    time.sleep(1.1)
    size = old.stat().st_size
    made.run("client", "down", "--now")  # sessions end: lines of the worker
    made.run("server", "reload")  # a line of the supervisor
    until(lambda: made.log("server").exists() and b"session closed" in made.log("server").read_bytes())
    until(lambda: b"configuration reloaded" in made.log("server").read_bytes())
    assert old.stat().st_size == size
    assert made.run("server", "status").returncode == 0


def test_workers_and_memory_of_forty_servers_that_are_not_there(made: Home) -> None:
    """Forty places of which two answer: all are shown within one back-off, and no dead one delays a living one."""
    made.run("server", "up", "--workers", "1")
    made.add_server("web2", made.port)
    for number in range(38):
        made.add_server(f"dead{number}", closed_port())
    began = time.monotonic()
    up = made.run("client", "up")
    took = time.monotonic() - began
    assert up.returncode == 4
    lines = up.stdout.splitlines()
    assert lines[-1].startswith("2 up, 38 down (refused: dead0, dead1, dead2, dead3, dead4, dead5 and 32 more)")
    assert len([line for line in lines if ": up (" in line]) == 2
    assert len([line for line in lines if ": down, connection refused" in line]) == 38
    workers = [each for each in processes.in_session(made.pid("client")) if each.name.startswith("hyp-")]
    memory = [pss for each in workers if (pss := processes.pss_bytes(each.pid)) is not None]
    if memory:
        total = sum(memory) / 1e6
        print(
            f"{len(memory)} workers: {total / len(memory):.1f} MB PSS each, {total:.0f} MB in all; up in {took:.1f} s"
        )
        assert total / len(memory) < 12
    assert len(workers) >= 40
    assert took < 60


def test_the_passphrase_is_asked_for_without_echo(made: Home) -> None:
    """On a terminal of its own, as a person sees it."""
    command = made.command("server", "up", "--workers", "1")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, made.environment(TERM="xterm"))
    screen = b""
    asked = False
    with contextlib.suppress(OSError):  # the other end of a terminal is an error, not an end of file
        while part := os.read(terminal, 4096):
            screen += part
            if b"passphrase: " in screen and not asked:
                asked = True
                os.write(terminal, f"{PASSPHRASE}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, screen
    assert asked
    assert PASSPHRASE.encode() not in screen
    assert b"hyperion-server up (pid " in screen
    assert made.run("server", "reload", passphrase=None).returncode == 0  # nobody is asked again


def pending(pid: int) -> set[int]:
    """Signals that were sent to a process, and that it has not taken yet."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    mask = int(lines["ShdPnd"], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_a_restart_goes_on_when_the_login_that_it_was_typed_in_is_cut(made: Home) -> None:
    """As it is when a server is restarted through its own tunnel: the terminal goes while the old one ends."""
    assert made.run("server", "up", "--workers", "1").returncode == 0
    old = made.pid("server")
    os.kill(old, signal.SIGSTOP)  # it ends when we say so
    with subprocess.Popen(
        made.command("server", "restart", "--workers", "1"),
        env=made.environment(HYPERION_PASSPHRASE=PASSPHRASE),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as typed:
        assert typed.stdout is not None
        assert typed.stdout.readline().startswith(f"stopping pid {old}; ")
        until(lambda: signal.SIGTERM in pending(old))  # the new one has asked, has no answer, and waits
        os.killpg(typed.pid, signal.SIGHUP)
        assert typed.wait(10) == -signal.SIGHUP
    assert made.pid("server") == old
    os.kill(old, signal.SIGCONT)
    until(lambda: holder(made.runtime("server")) not in (None, 0, old), 30)
    until(lambda: made.run("server", "status").returncode == 0, 30)
    assert made.run("client", "doctor").returncode == 0


def test_a_restart_with_a_fault_stops_nothing(made: Home) -> None:
    assert made.run("server", "up", "--workers", "1").returncode == 0
    old = made.pid("server")
    made.server_file.write_text(made.server_file.read_text().replace("listen", "lisen"))
    assert made.run("server", "restart").returncode == 78
    assert made.pid("server") == old


@pytest.mark.parametrize(("address", "told"), [("127.0.0.1", "in use"), ("192.0.2.1", "no such address")])
def test_a_restart_that_could_not_listen_stops_nothing(made: Home, address: str, told: str) -> None:
    """Behind a gate nobody would get in any more."""
    assert made.run("server", "up", "--workers", "1").returncode == 0
    old = made.pid("server")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"{address}:{other.getsockname()[1]}"
        made.server_file.write_text(made.server_file.read_text().replace(f"127.0.0.1:{made.port}", taken))
        restart = made.run("server", "restart")
    assert (restart.returncode, restart.stdout) == (73, "")
    assert told in restart.stderr
    assert made.pid("server") == old
    assert made.run("server", "status").returncode == 0
