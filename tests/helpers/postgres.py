"""A PostgreSQL cluster of our own in a temporary directory, and ``psql`` to it by whatever port.

PostgreSQL refuses to run as root: then it runs as the system's own user for it, else as nobody.
"""

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.peers import LOOPBACK, write_private
from bench.ports import free_port
from tests.helpers.program import Program
from tests.helpers.programs import find_program

#: Seconds for one script of psql.
TIMEOUT = 60

USER = "hyperion"


class Postgres:
    """A running cluster."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self._directory = directory

    def psql(self, port: int, *commands: str, host: str = LOOPBACK) -> str:
        """Runs the commands one by one over TCP through ``port``; what they print, without decoration."""
        words = [_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-w"]
        words += ["-h", host, "-p", str(port), "-U", USER, "-d", "postgres"]
        words += [part for command in commands for part in ("-c", command)]
        environment = {"PATH": os.environ["PATH"], "PGPASSFILE": str(self._directory / "passfile")}
        done = subprocess.run(
            words,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A new cluster that listens on loopback only and wants a password."""
    user = _unprivileged_user()
    # Not pytest's directory: no other user may enter that.
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        directory = Path(name)
        password = secrets.token_hex(16)
        write_private(directory / "password", password)
        write_private(directory / "passfile", f"*:*:*:{USER}:{password}\n")
        if user is not None:
            for path in (directory, directory / "password"):
                os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        _init(directory, user)
        port = free_port()
        server = _start(directory, port, user)
        try:
            server.wait_err("database system is ready to accept connections")
            yield Postgres(directory, port)
        finally:
            server.stop(signal.SIGINT)  # "fast": does not wait for clients


def _init(directory: Path, user: str | None) -> None:
    words = [
        _program("initdb"),
        "-D",
        str(directory / "data"),
        "-U",
        USER,
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ]
    words += ["--auth=scram-sha-256", f"--pwfile={directory / 'password'}"]
    made = Program("initdb", words, user=user, directory=directory)
    assert made.wait(TIMEOUT) == 0, made.tail()


def _start(directory: Path, port: int, user: str | None) -> Program:
    settings = {"listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": directory, "fsync": "off"}
    words = [_program("postgres"), "-D", str(directory / "data")]
    words += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return Program("postgres", words, user=user, directory=directory)


def _program(name: str) -> str:
    found = find_program(name)
    assert found is not None
    return found


def _unprivileged_user() -> str | None:
    """Whom to run it as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
