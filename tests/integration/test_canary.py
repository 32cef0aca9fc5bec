"""Secrets stay where they belong: looked for in everything that anybody else could see, while all is well and while
things go wrong.

Looked at: arguments and environment of every process (also as the kernel keeps them), what commands print, what daemons
log, answers of the operator socket, and whether a crash could write memory to a file.
"""

import base64
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import processes
from hyperion.paths import Program
from hyperion.proto.keys import Psk
from hyperion.running import holder
from tests.helpers.config_files import ADMIN_SECRET, PASSPHRASE, SERVER_SECRET
from tests.helpers.home import SALT, VARIABLE, Home, home

BOTH: tuple[Program, Program] = ("server", "client")


def forms(raw: bytes) -> list[bytes]:
    """How 32 bytes may look: raw, base64 without its end, hexadecimal, as Python shows bytes."""
    text = base64.b64encode(raw)
    return [raw, text[:40], base64.urlsafe_b64encode(raw)[:40], raw.hex().encode(), repr(raw)[2:-1].encode()]


CANARIES = [
    PASSPHRASE.encode(),
    *forms(Psk.from_passphrase(PASSPHRASE, SALT).raw),
    *forms(SERVER_SECRET.raw),
    *forms(ADMIN_SECRET.raw),
]


def hits(data: bytes) -> list[bytes]:
    return [canary for canary in CANARIES if canary in data]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Home]:
    with home(tmp_path) as it:
        yield it


def check_processes(leader: int) -> int:
    """Every process of a daemon; how many there are."""
    members = processes.in_session(leader)
    for member in members:
        for name in ("cmdline", "environ", "comm", "stat"):
            data = read(Path(f"/proc/{member.pid}/{name}"))
            assert hits(data) == [], (member, name)
            if name == "environ":
                assert VARIABLE.encode() not in data, member
        limits = Path(f"/proc/{member.pid}/limits").read_text()
        (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"], (member, core)
    return len(members)


def check_files(made: Home) -> None:
    """All that was written, but for the files that hold the secrets by their nature."""
    for path in made.directory.rglob("*"):
        if path.is_file() and path.suffix not in (".key", ".toml"):
            assert hits(path.read_bytes()) == [], path


def check_output(done: "subprocess.CompletedProcess[str]") -> None:
    assert hits(done.stdout.encode()) == []
    assert hits(done.stderr.encode()) == []


def test_the_canaries_would_be_found(made: Home) -> None:
    """A search that finds nothing anywhere would look the same."""
    with subprocess.Popen(
        ["sleep", "60"], env={VARIABLE: PASSPHRASE, "K": SERVER_SECRET.format()}, start_new_session=True
    ) as sleeper:
        with pytest.raises(AssertionError):
            check_processes(sleeper.pid)
        sleeper.kill()
    (made.directory / "some.log").write_text(f"psk={SERVER_SECRET.raw.hex()}")
    with pytest.raises(AssertionError):
        check_files(made)


def test_daemons_show_no_secret(made: Home) -> None:
    for program in BOTH:
        check_output(made.run(program, "up", "--log-level", "debug"))
    for program, least in zip(BOTH, (4, 4), strict=True):  # supervisor, fork server, its tracker, a worker
        assert check_processes(made.pid(program)) >= least
        for words in (
            ["status", "-v"],
            ["status", "--json"],
            ["reload"],
            ["ls"] if program == "client" else ["status"],
        ):
            check_output(made.run(program, *words))
    check_files(made)
    for program in BOTH:
        check_output(made.run(program, "down", "--now"))
    check_files(made)


@pytest.mark.parametrize("program", BOTH)
def test_in_the_foreground_the_environment_is_left_behind(made: Home, program: Program) -> None:
    """The kernel keeps the environment of the start for ever: the program starts itself once more without it."""
    command = made.command(program, "up", "--foreground")
    with subprocess.Popen(
        command,
        env=made.environment(**{VARIABLE: PASSPHRASE}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        deadline = time.monotonic() + 30
        while made.run(program, "status").returncode == 3:
            assert time.monotonic() < deadline
        assert made.pid(program) == running.pid
        assert check_processes(running.pid) >= 4
        running.terminate()
        assert running.wait(60) == 0


def failures(made: Home) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Ways to fail, each with what was changed put right again."""
    yield "no secret", ["up"], {}
    key = made.directory / "server.key"
    key.chmod(0o644)
    yield "open key file", ["up"], {VARIABLE: PASSPHRASE}
    key.chmod(0o600)
    good = key.read_text()
    key.write_text(PASSPHRASE)
    yield "no key", ["up"], {VARIABLE: PASSPHRASE}
    key.write_text(good)
    text = made.server_file.read_text()
    for spoilt in (
        text.replace("passphrase_env", "passphrase_nev"),
        text.replace('source = "passphrase"', f'source = "value"\nvalue = "{PASSPHRASE}"'),
        text.replace('source = "passphrase"', f'source = "{PASSPHRASE}"'),
        text.replace('name = "alice"', f'name = "{SERVER_SECRET.format()}"\npsk = "{PASSPHRASE}"'),
        text.replace(f'"{key}"', f'"{SERVER_SECRET.format()}"'),
        text + f'[key]\nvalue = "{PASSPHRASE}"\n',
    ):
        made.server_file.write_text(spoilt)
        yield f"spoilt file: {spoilt}", ["up", "--debug"], {VARIABLE: PASSPHRASE}
    made.server_file.write_text(text)
    with socket.create_server(("127.0.0.1", made.port)):
        yield "port in use", ["up", "--debug"], {VARIABLE: PASSPHRASE}
    (made.directory / "hyperion-server.log").unlink(missing_ok=True)
    (made.directory / "hyperion-server.log").mkdir()
    yield "no log", ["up", "--debug"], {VARIABLE: PASSPHRASE}
    (made.directory / "hyperion-server.log").rmdir()
    site = made.directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nif '--launch-fd' in sys.orig_argv:\n    raise SystemExit(9)\n")
    yield "dead daemon", ["up", "--debug"], {VARIABLE: PASSPHRASE, "PYTHONPATH": str(site)}
    # A bug in the middle of it, where the secrets are in the local variables of every frame.
    (site / "sitecustomize.py").write_text(
        "import hyperion.config.server as module\n\ndef broken(*arguments):\n    raise RuntimeError(arguments)\n\n"
        "module.identity_of_file = broken\n"
    )
    yield "a bug of ours", ["up"], {VARIABLE: PASSPHRASE, "PYTHONPATH": str(site)}


@pytest.mark.timeout(180)
def test_no_failure_shows_a_secret(made: Home) -> None:
    seen = []
    for name, words, environment in failures(made):
        done = made.run("server", *words, passphrase=None, environment=environment)
        assert done.returncode not in (0, 4), name
        check_output(done)
        check_files(made)
        assert holder(made.runtime("server")) is None, name
        seen.append(name)
    assert len(seen) >= 12


def test_a_crash_writes_no_memory(made: Home, tmp_path: Path) -> None:
    """Workers and supervisor end on SIGABRT, with a limit for cores that would allow one, and leave none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        assert made.run("server", "up", "--workers", "1").returncode == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    before = set(Path.cwd().iterdir()) | set(made.directory.iterdir())
    leader = made.pid("server")
    for member in reversed(processes.in_session(leader)):
        os.kill(member.pid, signal.SIGABRT)
        time.sleep(0.1)
    deadline = time.monotonic() + 20
    while processes.in_session(leader):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    after = set(Path.cwd().iterdir()) | set(made.directory.iterdir())
    assert [path for path in after - before if "core" in path.name] == []
    check_files(made)
