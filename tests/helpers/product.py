"""The two programs as an admin runs them: keys by ``keygen``, files by hand, ``run`` by the command line, on loopback.

Knows configuration files, command lines and what the programs print. Imports nothing of ``hyperion``.
"""

import base64
import re
import secrets
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.bulk import Address
from bench.peers import LOOPBACK, port_is_open, write_private
from bench.ports import free_port
from bench.tunnel import FORWARD_LINE, KEY_BYTES, make_key, program, quote
from tests.helpers.program import PATIENCE, Program

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair that ``keygen`` made: the file of the secret half, the public half in base64."""

    file: Path
    public: str

    @property
    def secret_raw(self) -> bytes:
        return base64.b64decode(self.file.read_text(encoding="ascii").strip(), validate=True)

    @property
    def public_raw(self) -> bytes:
        return base64.b64decode(self.public, validate=True)


@dataclass(frozen=True, slots=True)
class Entry:
    """A ``[[server]]`` of a client's file."""

    name: str
    port: int
    public: str


class Server:
    """A running ``hyperion-server run`` and its file."""

    def __init__(self, product: "Product", key: Key, config: Path, port: int) -> None:
        self.key = key
        self.config = config
        self.port = port
        self._product = product
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        assert self._program is not None
        return self._program

    def entry(self, name: str = "web1") -> Entry:
        return Entry(name, self.port, self.key.public)

    def write(self, allow: Sequence[int], admins: Sequence[Key], more: Sequence[str] = ()) -> None:
        """The file, new or instead of the one that is there; ``more``: lines behind the others."""
        lines = [
            f"listen = {quote(f'{LOOPBACK}:{self.port}')}",
            "[key]",
            'source = "file"',
            f"file = {quote(self._product.psk_file)}",
            "[identity]",
            f"static_key_file = {quote(self.key.file)}",
            f"admin_pubkeys = [{', '.join(quote(admin.public) for admin in admins)}]",
            "[egress]",
            f"allow = [{', '.join(map(str, allow))}]",
            *more,
            "",
        ]
        self.config.write_text("\n".join(lines), encoding="utf-8")

    def start(self, *, workers: int = WORKERS, options: Sequence[str] = ()) -> None:
        self._program = self._product.run("server", self.config, ["--workers", str(workers), *options])

    def wait_ready(self) -> None:
        self.program.wait_events("service-started")

    def reload(self) -> str:
        """SIGHUP; the code of what the log then says."""
        known = len(self.program.events("config-reload"))
        self.program.send(signal.SIGHUP)
        code: str = self.program.wait_events("config-reload", known + 1)[known]["event"]["code"]
        return code

    def worker_pid(self, name: str) -> int:
        """The present worker of this name."""
        return worker_pid(self.program, name)


class Client:
    """A running ``hyperion-client run``."""

    def __init__(self, running: Program, local: Mapping[tuple[str, int], int]) -> None:
        self.program = running
        self._local = local

    def address(self, remote_port: int, server: str = "web1") -> Address:
        return LOOPBACK, self._local[server, remote_port]


class Product:
    """A directory with the keys of one installation, and all that is started in it.

    As a context manager it ends with a proof: every program that still runs is stopped by SIGTERM with exit status 0,
    wrote nothing but JSON to standard error, and left neither process nor listener behind.
    """

    def __init__(self) -> None:
        # A short name: the fork server's socket lies below it, and a socket's path has at most 107 bytes.
        self._temporary = tempfile.TemporaryDirectory(prefix="hyp")
        self.directory = Path(self._temporary.name)
        self.psk = secrets.token_bytes(KEY_BYTES)
        self.psk_text = base64.b64encode(self.psk).decode()
        self.psk_file = write_private(self.directory / "psk", f"{self.psk_text}\n")
        self.programs: list[Program] = []
        self._ports: list[int] = []
        self._keys: dict[str, Key] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._stop_and_judge()
        finally:
            for each in self.programs:
                each.end()
            self._temporary.cleanup()

    @property
    def keys(self) -> list[Key]:
        return list(self._keys.values())

    def key(self, name: str, side: str = "client") -> Key:
        """The key of this name; made when it is first asked for."""
        if name not in self._keys:
            file = self.directory / f"{name}.key"
            self._keys[name] = Key(file, make_key(side, file))
        return self._keys[name]

    def run(self, side: str, config: Path, arguments: Sequence[str]) -> Program:
        """``hyperion-SIDE run``."""
        command = [*program(side), "run", "--config", str(config), "--log-format", "json", *arguments]
        # Its own home, so that no file of the user's is found, and its own place for temporary files.
        environment = {"HYPERION_HOME": str(self.directory), "TMPDIR": str(self.directory)}
        self.programs.append(Program(f"hyperion-{side}", command, environment=environment))
        return self.programs[-1]

    def server(
        self,
        allow: Sequence[int],
        *,
        name: str = "server",
        admins: Sequence[str] = ("admin",),
        options: Sequence[str] = (),
        wait: bool = True,
    ) -> Server:
        """A server that runs; ready, unless ``wait`` is False."""
        server = Server(self, self.key(name, "server"), self.directory / f"{name}.toml", free_port())
        server.write(allow, [self.key(admin) for admin in admins])
        server.start(options=options)
        self._ports.append(server.port)
        if wait:
            server.wait_ready()
        return server

    def client_file(
        self, entries: Sequence[Entry], *, name: str = "client", admin: str = "admin", pool: int = 2
    ) -> Path:
        """A client's configuration without forwards."""
        lines = [f"admin_static_key_file = {quote(self.key(admin).file)}", f"pool_size = {pool}"]
        lines += ["[key]", 'source = "value"', f"value = {quote(self.psk_text)}"]
        for entry in entries:
            lines += ["[[server]]", f"name = {quote(entry.name)}", f"addr = {quote(f'{LOOPBACK}:{entry.port}')}"]
            lines.append(f"server_pubkey = {quote(entry.public)}")
        file = self.directory / f"{name}.toml"
        file.unlink(missing_ok=True)
        return write_private(file, "\n".join([*lines, ""]))

    def client(
        self,
        entries: Sequence[Entry],
        remote_ports: Sequence[int],
        *,
        name: str = "client",
        admin: str = "admin",
        pool: int = 2,
        options: Sequence[str] = (),
    ) -> Client:
        """A client that listens: for each server and remote port a forward from a free local port."""
        file = self.client_file(entries, name=name, admin=admin, pool=pool)
        forwards = [f"{entry.name}:{port}" for entry in entries for port in remote_ports]
        running = self.run("client", file, [*(part for each in forwards for part in ("-L", each)), *options])
        lines = running.wait_out(lambda line: re.match(FORWARD_LINE, line) is not None, len(forwards))
        found = [match for line in lines if (match := re.match(FORWARD_LINE, line))]
        local = {(match["server"], int(match["remote"])): int(match["port"]) for match in found}
        self._ports += local.values()
        return Client(running, local)

    def _stop_and_judge(self) -> None:
        """Clients first, as an admin would."""
        for each in reversed(self.programs):
            if each.running:
                assert each.stop() == 0, each.tail()
        for each in self.programs:
            assert each.strange == []
            assert each.events("internal-error") == []
        assert [port for port in self._ports if port_is_open((LOOPBACK, port))] == []


def worker_pid(running: Program, name: str) -> int:
    """Of the latest worker of this name that a supervisor told of; waits for the first one."""
    told = 0
    while True:
        events = running.wait_events("worker-started", told + 1)
        pids: list[int] = [each["process"]["pid"] for each in events if each["hyperion"]["worker"]["id"] == name]
        if pids:
            return pids[-1]
        told = len(events)


__all__ = ["PATIENCE", "WORKERS", "Client", "Entry", "Key", "Product", "Server", "worker_pid"]
