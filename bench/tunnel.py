"""Hyperion as a peer: keys, configurations, a server and a client in a new directory, driven by the command line.

Uses what any user has: the two programs, two configuration files, and what the programs print. Imports nothing of
``hyperion``.
"""

import base64
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.bulk import Address
from bench.child import Child, ChildError
from bench.peers import LOOPBACK, START_TIMEOUT, Ports, write_private
from bench.ports import free_port
from bench.processes import Process, family

#: Seconds for one ``keygen``.
KEYGEN_TIMEOUT = 30

KEY_BYTES = 32

#: Names that workers give themselves start like this (the supervisor and its fork server are called otherwise).
WORKER_NAME = "hyp-"

#: A public key in what ``keygen`` prints: 32 bytes in canonical base64.
PUBLIC_KEY = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=")

#: The server's log code for "all workers are ready".
SERVER_READY = "HYP0001N"

#: The client's line for each forward.
FORWARD_LINE = r"^forward (?P<host>\S+):(?P<port>\d+) -> (?P<server>\S+):(?P<remote>\d+)$"


@dataclass(frozen=True, slots=True)
class Options:
    """How the two sides run. ``servers`` are names in the client's configuration; all lead to the one server."""

    workers: int = 2
    pool_size: int | None = None
    servers: tuple[str, ...] = ("bench",)
    log_format: str = "json"
    log_level: str = "info"


def program(side: str) -> list[str]:
    """How to start ``hyperion-server`` or ``hyperion-client``: the one beside this Python, else the module itself."""
    installed = Path(sys.executable).parent / f"hyperion-{side}"
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-c", f"import sys; from hyperion.cli.{side} import main; sys.exit(main())"]


def make_key(side: str, path: Path) -> str:
    """``keygen -o``: writes the secret to ``path``, returns the public key. Raises ChildError."""
    done = subprocess.run(
        [*program(side), "keygen", "-o", str(path)], capture_output=True, timeout=KEYGEN_TIMEOUT, check=False, text=True
    )
    found = PUBLIC_KEY.search(done.stdout)
    if done.returncode or not found:
        raise ChildError(f"hyperion-{side} keygen failed (exit {done.returncode})", done.stderr.splitlines())
    return found.group()


def server_config(directory: Path, port: int, admin: str, allow: Sequence[int]) -> str:
    """The server's configuration: everything it needs and nothing else."""
    return "\n".join(
        [
            f"listen = {quote(f'{LOOPBACK}:{port}')}",
            "",
            "[key]",
            'source = "file"',
            f"file = {quote(directory / 'psk')}",
            "",
            "[identity]",
            f"static_key_file = {quote(directory / 'server.key')}",
            f"admin_pubkeys = [{quote(admin)}]",
            "",
            "[egress]",
            f"allow = [{', '.join(map(str, allow))}]",
            "",
        ]
    )


def client_config(directory: Path, port: int, server: str, psk: str, options: Options) -> str:
    """The client's configuration. Forwards come from the command line, where a port may be left to the system."""
    lines = [f"admin_static_key_file = {quote(directory / 'admin.key')}"]
    if options.pool_size is not None:
        lines.append(f"pool_size = {options.pool_size}")
    lines += ["", "[key]", 'source = "value"', f"value = {quote(psk)}"]
    for name in options.servers:
        lines += ["", "[[server]]", f"name = {quote(name)}", f"addr = {quote(f'{LOOPBACK}:{port}')}"]
        lines.append(f"server_pubkey = {quote(server)}")
    return "\n".join([*lines, ""])


def quote(value: object) -> str:
    """A TOML basic string. JSON's escapes are a subset of TOML's."""
    return json.dumps(str(value), ensure_ascii=True)


class HyperionTunnel:
    """One server, one client with a worker for each server name, in ``directory``, which is made."""

    def __init__(self, directory: Path, options: Options | None = None, name: str = "hyperion") -> None:
        self.name = name
        self.port = 0
        self.server: Child | None = None
        self.client: Child | None = None
        self._directory = directory
        self._options = options or Options()
        self._ports: Ports = {}
        self._local: dict[tuple[str, int], int] = {}

    def start(self, ports: Ports) -> None:
        self.prepare(ports)
        self.start_server()
        self.start_client(ports)

    def prepare(self, ports: Ports) -> None:
        """Keys and configurations. Raises ChildError."""
        self._directory.mkdir(mode=0o700)
        self.port = free_port()
        server = make_key("server", self._directory / "server.key")
        admin = make_key("client", self._directory / "admin.key")
        psk = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        write_private(self._directory / "psk", f"{psk}\n")
        write_private(
            self._directory / "server.toml",
            server_config(self._directory, self.port, admin, sorted(ports.values())),
        )
        write_private(
            self._directory / "client.toml", client_config(self._directory, self.port, server, psk, self._options)
        )

    def start_server(self) -> None:
        """Raises ChildError when it is not ready in time."""
        arguments = ["--workers", str(self._options.workers)]
        self.server = self._run("server", arguments)
        self.server.wait_line(SERVER_READY, START_TIMEOUT)

    def start_client(self, ports: Ports) -> None:
        """Each server name forwards each service. Raises ChildError when the forwards do not listen in time."""
        forwards = [f"{name}:{port}" for name in self._options.servers for port in ports.values()]
        self.client = self._run("client", [part for forward in forwards for part in ("-L", forward)])
        lines = self.client.wait_lines(FORWARD_LINE, len(forwards), START_TIMEOUT)
        self._local = {(line["server"], int(line["remote"])): int(line["port"]) for line in lines}
        self._ports = ports

    def address(self, service: str) -> Address:
        """Through the first server name."""
        return LOOPBACK, self._local[self._options.servers[0], self._ports[service]]

    def all_addresses(self) -> list[Address]:
        """Every forward of every server name."""
        return [(LOOPBACK, port) for port in self._local.values()]

    def pids(self) -> dict[str, list[int]]:
        sides = {"client": self.client, "server": self.server}
        return {side: [process.pid for process in workers(child)] for side, child in sides.items() if child}

    def stop(self) -> None:
        for child in (self.client, self.server):
            if child is not None:
                child.stop()
        self.client = self.server = None

    def _run(self, side: str, arguments: Sequence[str]) -> Child:
        logs = ["--log-format", self._options.log_format, "--log-level", self._options.log_level]
        config = ["--config", str(self._directory / f"{side}.toml")]
        # Its own home: a configuration of the user's must not be found by accident.
        environment = {"HYPERION_HOME": str(self._directory)}
        return Child(f"hyperion-{side}", [*program(side), "run", *config, *arguments, *logs], environment=environment)


def workers(child: Child) -> list[Process]:
    """The processes under a supervisor that carry traffic."""
    return [process for process in family(child.pid) if is_worker(process)]


def is_worker(process: Process) -> bool:
    return process.name.startswith(WORKER_NAME)
