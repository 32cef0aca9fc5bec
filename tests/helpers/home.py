"""A home of its own for both programs: configuration, keys, runtime directory and logs in one place of a test.

``Home.run("server", "up")`` is what a user types. Daemons that a test leaves behind are ended with it. Without knock
and without transparent mode: nothing of the machine is touched but loopback ports.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import processes
from hyperion.paths import Program
from hyperion.running import holder
from tests.helpers.config_files import ADMIN_SECRET, PASSPHRASE, SERVER_SECRET, write_key
from tests.peer.services import closed_port

#: Seconds that a command may take.
PATIENCE = 60.0

SALT = "a salt of the test"
VARIABLE = "HYPERION_PASSPHRASE"


class Home:
    """One directory, one server on a free port, and a client that knows it (as ``web1``) and whatever is added."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = closed_port()
        self.server_file = directory / "server.toml"
        self.client_file = directory / "hyperion.toml"
        server_key = write_key(directory / "server.key", SERVER_SECRET)
        admin_key = write_key(directory / "admin.key", ADMIN_SECRET)
        key = f'[key]\nsource = "passphrase"\npassphrase_env = "{VARIABLE}"\nsalt = "{SALT}"\n'
        self.server_file.write_text(
            f'listen = "127.0.0.1:{self.port}"\n{key}[identity]\nstatic_key_file = "{server_key}"\n'
            f'[[admin]]\nname = "alice"\npubkey = "{ADMIN_SECRET.public()}"\nallow = [22, 80]\n'
        )
        self.client_file.write_text(f'admin_static_key_file = "{admin_key}"\n{key}')
        self.add_server("web1", self.port)

    def add_server(self, name: str, port: int) -> None:
        """One more server for the client."""
        with self.client_file.open("a") as file:
            file.write(
                f'[[server]]\nname = "{name}"\naddr = "127.0.0.1:{port}"\nserver_pubkey = "{SERVER_SECRET.public()}"\n'
            )

    def environment(self, **more: str) -> dict[str, str]:
        """Of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYPERION", "XDG", "SUDO"))}
        return kept | {"HYPERION_HOME": str(self.directory), "TERM": "dumb"} | more

    def command(self, program: Program, *words: str) -> list[str]:
        """As the user types it; the client's ``up`` without a device, which would be the machine's."""
        more = ["--no-tun"] if (program, words[:1]) == ("client", ("up",)) else []
        return [sys.executable, "-m", "hyperion.cli", program, *words, *more]

    def run(
        self,
        program: Program,
        *words: str,
        passphrase: str | None = PASSPHRASE,
        environment: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> "subprocess.CompletedProcess[str]":
        """One command, from start to end; ``passphrase`` is in its environment."""
        secret = {} if passphrase is None else {VARIABLE: passphrase}
        return subprocess.run(
            self.command(program, *words),
            env=self.environment(**secret, **(environment or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            pass_fds=pass_fds,
        )

    def runtime(self, program: Program) -> Path:
        """Where its lock is."""
        return self.directory / "run" / program

    def log(self, program: Program) -> Path:
        """What its daemon wrote."""
        return self.directory / ("hyperion-server.log" if program == "server" else "hyperion.log")

    def pid(self, program: Program) -> int:
        """Of the one that runs."""
        pid = holder(self.runtime(program))
        assert pid
        return pid

    def close(self) -> None:
        """Ends what still runs, and whatever it started."""
        for program in ("server", "client"):
            pid = holder(self.runtime(program))
            for process in processes.in_session(pid) if pid else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def home(directory: Path) -> Iterator[Home]:
    """For the time of the block."""
    made = Home(directory)
    try:
        yield made
    finally:
        made.close()


def normal(text: str, made: Home) -> str:
    """A transcript without what differs from run to run."""
    text = text.replace(str(made.directory), "HOME").replace(str(made.port), "PORT")
    text = re.sub(r"^  (user|warning): .*\n", "", text, flags=re.MULTILINE)  # only if root runs it
    text = re.sub(r"\b(pid|stale pid) \d+", r"\1 PID", text)
    text = re.sub(r"\b\d+(\.\d+)? ms\b", "N ms", text)
    return re.sub(r"\b\d+(\.\d+)? s\b", "N s", text)
